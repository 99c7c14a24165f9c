"""Register accesses in words: what a device's window has at an offset, and what the value means.

Some registers depend on others that were written before (selectors, banks). Where a trace begins in
the middle of a dialogue those are not known, and the name says so: DeviceFeatures[?].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from virtmesh_common.interface import Interface, RegisterSpace
from virtmesh_common.register_places import RegisterPlaces
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import FEATURE_WORDS, name_features
from virtmesh_common.virtio.status import status_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from virtmesh_common.registers import Field, Register

DECIMAL_BELOW = 10
"""Smaller numbers look the same in both."""
INTERRUPT_NAMES = {
    mmio.INTERRUPT_USED_BUFFER: "used buffer",
    mmio.INTERRUPT_CONFIG_CHANGE: "configuration change",
}

BY_QUEUE = frozenset(
    register.name
    for register in mmio.REGISTERS
    if register.name.startswith("Queue") and register not in {mmio.QUEUE_SEL, mmio.QUEUE_NOTIFY}
)
"""Registers of the queue that QueueSel selects."""
BY_REGION = frozenset(
    register.name
    for register in mmio.REGISTERS
    if register.name.startswith("SHM") and register is not mmio.SHM_SEL
)
"""Registers of the region that SHMSel selects."""
SELECTORS = {
    mmio.DEVICE_FEATURES.name: mmio.DEVICE_FEATURES_SEL.name,
    mmio.DRIVER_FEATURES.name: mmio.DRIVER_FEATURES_SEL.name,
    **dict.fromkeys(BY_QUEUE, mmio.QUEUE_SEL.name),
    **dict.fromkeys(BY_REGION, mmio.SHM_SEL.name),
}
"""Which register selects what another one shows."""
DECIMAL = frozenset({*SELECTORS.values(), "QueueSizeMax", "QueueSize", "QueueNotify", "Version"})
"""Registers that hold counts and indexes."""

MAY_DIFFER = {
    "ConfigGeneration": "it counts what happened to that device before",
    "InterruptStatus": "requests are not replayed, so nothing is used",
}
"""Registers of virtio over MMIO whose values depend on more than the accesses before, and why."""


class RegisterNames(Protocol):
    """Names the registers of one device, and learns from what is written to them."""

    def spell(self, offset: int, width: int, value: int | None, *, write: bool) -> tuple[str, str]:
        """Return the register's name, and its value in words; a value of None has none.

        The names are those that hold at this access: hand accesses in in their order.
        """

    def reset(self) -> None:
        """Note that the device was reset."""

    def forget(self) -> None:
        """Note that accesses are missing: what selects is not known any more."""


def spell_number(value: int) -> str:
    """Spell a number as programmers do."""
    return str(value) if value < DECIMAL_BELOW else f"{value:#x}"


def spell_bits(value: int, names: Iterable[str]) -> str:
    """Spell a value with the names of its bits."""
    named = "|".join(names)
    return f"{value:#x} {named}" if named else spell_number(value)


def spell_fields(register: Register, value: int) -> str:
    """Spell the value of a whole register by its fields; that of a single field stands alone."""
    fields = [one for one in register.fields if not one.reserved]
    if not fields or value >> 8 * register.size:
        return spell_number(value)
    reserved = value & register.reserved_bits
    if len(fields) == 1 and not reserved:
        alone = fields[0].of(value)
        return fields[0].value_name(alone) or spell_number(alone)
    parts = [part for part in (spell_field(one, one.of(value)) for one in fields) if part]
    return spell_bits(value, [*parts, f"reserved={reserved:#x}"] if reserved else parts)


def spell_field(field: Field, value: int) -> str:
    """Spell a field; empty for bits that are not set."""
    if field.width == 1 and not field.values:
        return field.name if value else ""
    if name := field.value_name(value):
        return f"{field.name}={name}"
    return f"{field.name}={spell_number(value)}" if value else ""


def interrupt_names(bits: int) -> str:
    """Name the bits of InterruptStatus."""
    left = bits & ~mmio.INTERRUPT_BITS
    names = [name for bit, name in INTERRUPT_NAMES.items() if bits & bit]
    return ", ".join(names + ([f"{left:#x}"] if left else [])) or "none"


def known_value(register: Register, value: int) -> str:
    """Spell a value of virtio over MMIO that has a name of its own; empty when it has none."""
    if register in {mmio.INTERRUPT_STATUS, mmio.INTERRUPT_ACK}:
        return f"{spell_number(value)} ({interrupt_names(value)})"
    if register is mmio.MAGIC_VALUE and value == mmio.MMIO_MAGIC:
        return f'{value:#x} "virt"'
    if register is mmio.DEVICE_ID and (name := mmio.DEVICE_ID_FIELDS[0].value_name(value)):
        return f"{value} ({name})"
    return ""


class WindowNames:
    """The registers that a device describes: names by place and direction, values by fields."""

    def __init__(self, registers: Iterable[Register]) -> None:
        self._places = RegisterPlaces(registers)
        self.bank: str | None = None
        """The bank that is in force; None while that is not known."""

    def spell(self, offset: int, width: int, value: int | None, *, write: bool) -> tuple[str, str]:
        """Name a register and its value."""
        found = self.find(offset, write=write)
        name = "/".join(sorted(spell_place(one, offset, width) for one in found))
        if value is None:
            return name or spell_offset(offset), ""
        if len(found) == 1 and width >= found[0].size and offset == found[0].offset:
            return name, spell_fields(found[0], value)
        return name or spell_offset(offset), spell_number(value)

    def find(self, offset: int, *, write: bool) -> list[Register]:
        """Return the registers that an access can mean: several where the bank is not known."""
        found = self._places.find(offset, write=write)
        if self.bank is None:
            return found
        return [one for one in found if one.bank in {"", self.bank}]

    def reset(self) -> None:
        """Note that the device was reset."""

    def forget(self) -> None:
        """Note that accesses are missing."""


def spell_place(register: Register, offset: int, width: int) -> str:
    """Name a register, or the part of it that an access means."""
    part = offset - register.offset
    return f"{register.name}+{part}" if part or width < register.size else register.name


def spell_offset(offset: int) -> str:
    """Name a place where no register is known."""
    return f"[{offset:#05x}]"


class VirtioNames:
    """Virtio over MMIO (virtio 1.4, 4.2.2), and the configuration space that a device describes."""

    def __init__(self, interface: Interface) -> None:
        self._features: Mapping[int, str] | None = None
        if interface.space is RegisterSpace.VIRTIO_CONFIG:
            self._features = interface.feature_names
        config = [one for one in interface.registers if one.offset >= mmio.MMIO_CONFIG]
        self._places = RegisterPlaces((*mmio.REGISTERS, *config))
        self._selected: dict[str, int] = {}

    def spell(self, offset: int, width: int, value: int | None, *, write: bool) -> tuple[str, str]:
        """Name a register and its value."""
        register = self._find(offset, write=write)
        if register is None:
            where = offset - mmio.MMIO_CONFIG
            name = f"config[{where:#x}]" if where >= 0 else spell_offset(offset)
            return name, "" if value is None else spell_number(value)
        name, whole = register.name, width == register.size
        shown = spell_place(register, offset, width)
        if name in SELECTORS:
            selected = self._selected.get(SELECTORS[name])
            shown = f"{name}[{'?' if selected is None else selected}]"
        if value is None:
            return shown, ""
        if write and name in SELECTORS.values():
            self._selected[name] = value
        return shown, self._meaning(register, value, write=write, whole=whole)

    def reset(self) -> None:
        """Selectors are 0 after a reset."""
        self._selected = dict.fromkeys(SELECTORS.values(), 0)

    def forget(self) -> None:
        """Selectors may have been written."""
        self._selected = {}

    def _find(self, offset: int, *, write: bool) -> Register | None:
        """Return the register at an offset, even if such an access is refused."""
        places = self._places
        found = places.find(offset, write=write) or places.find(offset, write=not write)
        return found[-1] if found else None

    def _meaning(self, register: Register, value: int, *, write: bool, whole: bool) -> str:
        """Spell a value."""
        name = register.name
        if register is mmio.STATUS:
            return "|".join(status_names(value)) or ("0 (reset)" if write else "0")
        if register in {mmio.DEVICE_FEATURES, mmio.DRIVER_FEATURES}:
            return self._feature_word(value, self._selected.get(SELECTORS[name]))
        if name in DECIMAL:
            return str(value)
        spelled = known_value(register, value)
        return spelled or (spell_fields(register, value) if whole else spell_number(value))

    def _feature_word(self, value: int, word: int | None) -> str:
        """Spell a word of feature bits."""
        if word is None or self._features is None:
            return f"{value:#x}"
        if word >= FEATURE_WORDS:
            return spell_number(value)
        return spell_bits(value, name_features(value << 32 * word, self._features))
