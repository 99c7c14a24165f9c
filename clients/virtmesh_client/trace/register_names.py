"""Register accesses in words: what a device's window has at an offset, and what the value means.

Some registers depend on others that were written before (selectors, DLAB). Where a trace begins in
the middle of a dialogue those are not known, and the name says so: DeviceFeatures[?].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from virtmesh_common.blk import spec as blk
from virtmesh_common.input import spec as virtio_input
from virtmesh_common.uart import spec as uart
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio import mmio as mmio_registers
from virtmesh_common.virtio.features import FEATURE_WORDS, feature_names
from virtmesh_common.virtio.status import status_names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import IntFlag

    from virtmesh_client.trace.events import Source
    from virtmesh_common.registers import Register

DECIMAL_BELOW = 10
"""Smaller numbers look the same in both."""

BYTE_MAX = 0xFF
"""Largest value that a serial port sends or receives; a saved trace can say anything."""
DEVICE_NAMES = {2: "block device", 18: "input device"}
"""Virtio device IDs (virtio 1.4, 5)."""
FAMILIES: dict[int, tuple[type[IntFlag] | None, tuple[Register, ...]]] = {
    blk.VIRTIO_ID_BLOCK: (blk.BlkFeature, blk.CONFIG),
    virtio_input.VIRTIO_ID_INPUT: (virtio_input.InputFeature, virtio_input.CONFIG),
}
"""Feature bits and configuration space by virtio device ID."""
NO_FAMILY: tuple[type[IntFlag] | None, tuple[Register, ...]] = (None, ())
"""Those of a device that is not known."""
INTERRUPT_NAMES = {
    mmio.INTERRUPT_USED_BUFFER: "used buffer",
    mmio.INTERRUPT_CONFIG_CHANGE: "configuration change",
}

BY_QUEUE = frozenset(
    register.name
    for register in mmio_registers.REGISTERS
    if register.name.startswith("Queue") and register not in {mmio.QUEUE_SEL, mmio.QUEUE_NOTIFY}
)
"""Registers of the queue that QueueSel selects."""
BY_REGION = frozenset(
    register.name
    for register in mmio_registers.REGISTERS
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
    "RBR": "it holds what the far end of the line sent",
    "IIR": "it depends on the far end of the line",
    "LSR": "it depends on the far end of the line",
    "MSR": "it depends on the far end of the line",
}
"""Registers whose values depend on more than the accesses before, and why."""
UART_FLAGS: dict[str, type[IntFlag]] = {
    "IER": uart.Ier,
    "FCR": uart.Fcr,
    "LCR": uart.Lcr,
    "MCR": uart.Mcr,
    "LSR": uart.Lsr,
    "MSR": uart.Msr,
}
"""Registers of the serial port that are made of bits."""


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


def names_for(source: Source) -> RegisterNames:
    """Return what names the registers of a device."""
    if source.compatible == uart.COMPATIBLE:
        return UartNames(source.reg_shift)
    return VirtioNames(source.virtio_device_id)


def spell_number(value: int) -> str:
    """Spell a number as programmers do."""
    return str(value) if value < DECIMAL_BELOW else f"{value:#x}"


def spell_bits(value: int, names: Iterable[str]) -> str:
    """Spell a value with the names of its bits."""
    named = "|".join(names)
    return f"{value:#x} {named}" if named else spell_number(value)


def interrupt_names(bits: int) -> str:
    """Name the bits of InterruptStatus."""
    left = bits & ~mmio.INTERRUPT_BITS
    names = [name for bit, name in INTERRUPT_NAMES.items() if bits & bit]
    return ", ".join(names + ([f"{left:#x}"] if left else [])) or "none"


def known_value(register: Register, value: int) -> str:
    """Spell a value that has a name of its own; empty when it has none."""
    if register in {mmio.INTERRUPT_STATUS, mmio.INTERRUPT_ACK}:
        return f"{spell_number(value)} ({interrupt_names(value)})"
    if register is mmio.MAGIC_VALUE and value == mmio.MMIO_MAGIC:
        return f'{value:#x} "virt"'
    if register is mmio.DEVICE_ID and value in DEVICE_NAMES:
        return f"{value} ({DEVICE_NAMES[value]})"
    if register is virtio_input.SELECT and value in list(virtio_input.ConfigSelect):
        return virtio_input.ConfigSelect(value).name
    return ""


class VirtioNames:
    """Virtio over MMIO (virtio 1.4, 4.2.2)."""

    def __init__(self, device_id: int) -> None:
        self._family, config = FAMILIES.get(device_id, NO_FAMILY)
        self._at = {
            offset: register
            for register in (*mmio_registers.REGISTERS, *config)
            for offset in range(register.offset, register.offset + register.size)
        }
        self._selected: dict[str, int] = {}

    def spell(self, offset: int, width: int, value: int | None, *, write: bool) -> tuple[str, str]:
        """Name a register and its value."""
        register = self._at.get(offset)
        if register is None:
            where = offset - mmio.MMIO_CONFIG
            name = f"config[{where:#x}]" if where >= 0 else f"[{offset:#05x}]"
            return name, "" if value is None else spell_number(value)
        name, part = register.name, offset - register.offset
        shown = name
        if name in SELECTORS:
            selected = self._selected.get(SELECTORS[name])
            shown = f"{name}[{'?' if selected is None else selected}]"
        elif part or width < register.size:
            shown = f"{name}+{part}"
        if value is None:
            return shown, ""
        if write and name in SELECTORS.values():
            self._selected[name] = value
        return shown, self._meaning(register, value, write=write)

    def reset(self) -> None:
        """Selectors are 0 after a reset."""
        self._selected = dict.fromkeys(SELECTORS.values(), 0)

    def forget(self) -> None:
        """Selectors may have been written."""
        self._selected = {}

    def _meaning(self, register: Register, value: int, *, write: bool) -> str:
        """Spell a value."""
        name = register.name
        if register is mmio.STATUS:
            return "|".join(status_names(value)) or ("0 (reset)" if write else "0")
        if register in {mmio.DEVICE_FEATURES, mmio.DRIVER_FEATURES}:
            return self._features(value, self._selected.get(SELECTORS[name]))
        return known_value(register, value) or (
            str(value) if name in DECIMAL else spell_number(value)
        )

    def _features(self, value: int, word: int | None) -> str:
        """Spell a word of feature bits."""
        if word is None or self._family is None:
            return f"{value:#x}"
        if word >= FEATURE_WORDS:
            return spell_number(value)
        return spell_bits(value, feature_names(value << 32 * word, self._family))


class UartNames:
    """NS16550A, registers `1 << reg_shift` bytes apart (PC16550D data sheet, section 8)."""

    def __init__(self, reg_shift: int) -> None:
        # One that no port has is that of a saved trace, or of a service that is not to be trusted.
        layout = uart.Layout(reg_shift) if reg_shift in uart.REG_SHIFTS else uart.Layout()
        registers = uart.Registers(layout)
        self._banks = (registers.main, registers.latch)
        self._dlab: bool | None = None

    def spell(self, offset: int, width: int, value: int | None, *, write: bool) -> tuple[str, str]:
        """Name a register and its value."""
        name = self._name(offset, write=write)
        if value is None:
            return name, ""
        if write and name == "LCR":
            self._dlab = bool(value & uart.Lcr.DLAB)
        if name in UART_FLAGS:
            flags = UART_FLAGS[name]
            return name, spell_bits(value, [str(one.name) for one in flags if value & one])
        if name == "IIR" and value & uart.IIR_ID in list(uart.Iir):
            return name, f"{value:#x} {uart.Iir(value & uart.IIR_ID).name}"
        if name in {"RBR", "THR"} and value <= BYTE_MAX:
            return name, f"{value:#04x} {chr(value)!r}"
        return name, spell_number(value)

    def reset(self) -> None:
        """DLAB is 0 after a reset."""
        self._dlab = False

    def forget(self) -> None:
        """DLAB may have been written."""
        self._dlab = None

    def _name(self, offset: int, *, write: bool) -> str:
        """Name a register."""
        way = "W" if write else "R"
        banks = self._banks if self._dlab is None else (self._banks[self._dlab],)
        found = {
            register.name
            for bank in banks
            for register in bank
            if register.offset == offset and way in register.access.value
        }
        return "/".join(sorted(found)) or f"[{offset:#05x}]"
