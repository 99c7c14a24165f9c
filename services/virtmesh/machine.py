"""The machine file: which devices a machine has, where they are, and how the kernel drives them.

A machine file is TOML; docs/machine.md describes it. Paths among the options of a device are
relative to the machine file, unix sockets to the run folder, so `load` resolves the first and
`Machine.resolve` the second. The memory map is that of QEMU's RISC-V `virt` board.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from virtmesh.errors import BadMachine
from virtmesh.wire import check_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME_PATTERN = r"[a-z][a-z0-9-]{0,30}"
"""Names of devices and machines, as a regular expression."""
RAM_ADDRESS = 0x8000_0000
"""Guest physical address of the first byte of RAM."""
MMIO_ADDRESS = 0x1000_1000
"""Guest physical address of virtio-mmio slot 0."""
MMIO_SIZE = 0x1000
"""Size of one virtio-mmio slot, in bytes."""
SLOTS = 8
"""Virtio-mmio slots of the board."""
FIRST_IRQ = 1
"""Interrupt number of slot 0."""

MEMORY_MIN = 1 << 20
MEMORY_MAX = 1 << 36
PAGE = 4096

PATH_OPTIONS = frozenset({"image"})
"""Options of devices that are paths."""
NAME_OR_PATH_OPTIONS = frozenset({"personality"})
"""Options of devices that are the name of something built in, or a path: one that ends in .toml."""

OptionValue = str | int | bool
_Choice = TypeVar("_Choice", bound=StrEnum)


class DoorbellKind(StrEnum):
    """How the kernel rings a queue."""

    EVENTFD = "eventfd"
    MMIO = "mmio"
    RPC = "rpc"


class InterruptMode(StrEnum):
    """How the kernel learns of used buffers."""

    INTERRUPT = "interrupt"
    POLLING = "polling"


@dataclass(frozen=True)
class KernelEntry:
    """The `[kernel]` table: the addresses of the kernel service and of its /metrics page."""

    listen: tuple[str, ...] = ("unix:kernel.sock",)
    metrics: str | None = None


@dataclass(frozen=True)
class DeviceEntry:
    """One `[[devices]]` table."""

    name: str
    kind: str
    endpoint: str
    slot: int
    handover: str | None = None
    metrics: str | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict)

    @property
    def address(self) -> int:
        """Guest physical address of the register window."""
        return MMIO_ADDRESS + self.slot * MMIO_SIZE

    @property
    def irq(self) -> int:
        """Interrupt number."""
        return FIRST_IRQ + self.slot

    def arguments(self) -> list[str]:
        """Return the arguments of `virtmesh-device` that start this device."""
        arguments = [self.kind, "--name", self.name, "--listen", self.endpoint]
        for key, value in {"handover": self.handover, "metrics": self.metrics}.items():
            if value is not None:
                arguments += [f"--{key}", value]
        for key, option in self.options.items():
            if isinstance(option, bool):
                arguments += [f"--{key}"] if option else []
            else:
                arguments += [f"--{key}", str(option)]
        return arguments


@dataclass(frozen=True)
class Machine:
    """A whole machine. `memory` is the RAM of each device's driver, in bytes."""

    name: str = "virtmesh"
    memory: int = 64 << 20
    doorbell: DoorbellKind = DoorbellKind.EVENTFD
    interrupts: InterruptMode = InterruptMode.INTERRUPT
    kernel: KernelEntry = field(default_factory=KernelEntry)
    devices: tuple[DeviceEntry, ...] = ()

    def resolve(self, run_dir: Path) -> Machine:
        """Return the machine with its unix sockets placed in `run_dir`. Errors: BadMachine."""
        place = _Placer(run_dir)
        listen = tuple(place.address(one, "kernel.listen") for one in self.kernel.listen)
        devices = tuple(
            replace(
                device,
                endpoint=place.address(device.endpoint, f"devices.{device.name}.endpoint"),
                handover=place.path(device.handover),
            )
            for device in self.devices
        )
        return replace(self, kernel=replace(self.kernel, listen=listen), devices=devices)


def load(path: Path | str) -> Machine:
    """Read a machine file. Errors: BadMachine, naming the file, the key and the mend."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadMachine(f"{path}: no such machine file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadMachine(f"{path}: cannot be read: {error}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadMachine(f"{path}: not TOML: {error}") from error
    return parse(document, source=str(path), base=path.absolute().parent)


def parse(document: Mapping[str, Any], *, source: str, base: Path) -> Machine:
    """Check a parsed machine file; paths among the options are relative to `base`.

    Errors: BadMachine.
    """
    table = _Table(document, source, "")
    table.only("name", "memory", "doorbell", "interrupts", "kernel", "devices")
    machine = Machine(
        name=table.name("name", default="virtmesh"),
        memory=_memory(table),
        doorbell=table.choice("doorbell", DoorbellKind, DoorbellKind.EVENTFD),
        interrupts=table.choice("interrupts", InterruptMode, InterruptMode.INTERRUPT),
        kernel=_kernel(table.table("kernel")),
    )
    return replace(machine, devices=_devices(table, base))


def parse_size(text: str | int) -> int:
    """Return the bytes that "64M", "1GiB", "0x1000" or a number stand for.

    K, M, G and T are powers of 1024, with or without "iB". Errors: ValueError, with the mend.
    """
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is no size: write 64M, 1GiB or a number of bytes")  # noqa: TRY004 - one error for every bad size
    if isinstance(text, int):
        if text < 0:
            raise ValueError(f"{text} is no size: a size is not negative")
        return text
    written = re.fullmatch(
        r"(0x[0-9a-f]+)|([0-9]+) *(?:([kmgt])?(?:i?b)?)", text.strip(), re.IGNORECASE | re.ASCII
    )
    if written is None:
        raise ValueError(f"{text!r} is no size: write 64M, 1GiB or a number of bytes")
    hexadecimal, decimal, unit = written.groups()
    if hexadecimal:
        return int(hexadecimal, 16)
    return int(decimal) << (10 * " KMGT".index(unit.upper()) if unit else 0)


def check_memory(size: int) -> int:
    """Return a size that RAM can have, in bytes. Errors: ValueError, with the mend."""
    if size % PAGE or not MEMORY_MIN <= size <= MEMORY_MAX:
        raise ValueError(f"{size} bytes of RAM: choose a multiple of 4K from 1M to 64G")
    return size


def _memory(table: _Table) -> int:
    """Check the size of the RAM."""
    try:
        return check_memory(table.size("memory", default=64 << 20))
    except ValueError as error:
        raise table.bad("memory", f"is wrong: {error}") from error


def _kernel(table: _Table) -> KernelEntry:
    """Check the `[kernel]` table."""
    table.only("listen", "metrics")
    listen = table.value("listen", (str, list), "unix:kernel.sock")
    if isinstance(listen, str):
        listen = [listen]
    if not listen or not all(isinstance(one, str) for one in listen):
        raise table.bad(
            "listen", 'must be one address or a list of them, such as ["unix:kernel.sock"]'
        )
    return KernelEntry(
        listen=tuple(table.check_address("listen", one) for one in listen),
        metrics=table.address("metrics", default=None),
    )


def _devices(table: _Table, base: Path) -> tuple[DeviceEntry, ...]:
    """Check every `[[devices]]` table, and give slots to those that name none."""
    tables = table.tables("devices")
    wanted = [_slot(one) for one in tables]
    free = iter(sorted(set(range(SLOTS)).difference(wanted)))
    devices = []
    for one, slot in zip(tables, wanted, strict=True):
        given = next(free, None) if slot is None else slot
        if given is None:
            raise table.bad("devices", f"has more than the {SLOTS} devices of the board")
        devices.append(_device(one, given, base))
    _no_twins(devices, table)
    return tuple(devices)


def _slot(table: _Table) -> int | None:
    """Return the slot that a device asks for."""
    slot: int | None = table.value("slot", (int,), None)
    if slot is not None and not 0 <= slot < SLOTS:
        raise table.bad("slot", f"must be from 0 to {SLOTS - 1}")
    return slot


def _device(table: _Table, slot: int, base: Path) -> DeviceEntry:
    """Check one `[[devices]]` table."""
    table.only("name", "kind", "endpoint", "slot", "handover", "metrics", "options")
    name = table.name("name")
    kind = table.name("kind")
    endpoint = table.address("endpoint", default=f"unix:{name}.sock")
    handover = table.value("handover", (str,), None)
    if endpoint is not None and not endpoint.startswith("unix:") and handover is None:
        raise table.bad(
            "endpoint", 'is not a unix socket: add handover = "PATH", the socket that takes memory'
        )
    return DeviceEntry(
        name=name,
        kind=kind,
        endpoint=endpoint or "",
        slot=slot,
        handover=handover,
        metrics=table.address("metrics", default=None),
        options=_options(table.table("options"), base),
    )


def _options(table: _Table, base: Path) -> dict[str, OptionValue]:
    """Check the options of a device: plain values, paths made absolute."""
    options: dict[str, OptionValue] = {}
    for key in table.keys:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
            raise table.bad(
                key, "is no option: spell it as the command line does, without dashes before it"
            )
        value = table.value(key, (str, int, bool), None)
        is_path = key in PATH_OPTIONS or (
            key in NAME_OR_PATH_OPTIONS and str(value).endswith(".toml")
        )
        options[key] = str(base / value) if is_path else value
    return options


def _no_twins(devices: Sequence[DeviceEntry], table: _Table) -> None:
    """Refuse two devices of one name, one endpoint or one slot."""
    for key in ("name", "endpoint", "slot"):
        seen: set[object] = set()
        for device in devices:
            value = getattr(device, key)
            if value in seen:
                raise table.bad("devices", f"has two devices of the {key} {value}")
            seen.add(value)


class _Table:
    """One TOML table, with errors that say where it is."""

    def __init__(self, content: Mapping[str, Any], source: str, place: str) -> None:
        self._content = content
        self._source = source
        self._place = place

    @property
    def keys(self) -> list[str]:
        """The keys of the table."""
        return list(self._content)

    def bad(self, key: str, mend: str) -> BadMachine:
        """Make the error for a key."""
        return BadMachine(f"{self._source}: {self._place}{key} {mend}")

    def only(self, *known: str) -> None:
        """Refuse keys that are not known, naming the nearest that is."""
        for key in self._content:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise self.bad(key, f"is unknown: {mend}")

    def value(self, key: str, kinds: tuple[type, ...], default: Any) -> Any:
        """Return a value of one of the types, or the default when it is absent."""
        value = self._content.get(key, default)
        if value is default:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = {
                str: "a string",
                int: "a number",
                bool: "true or false",
                list: "a list",
                dict: "a table",
            }
            raise self.bad(key, f"must be {' or '.join(names[kind] for kind in kinds)}")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        """Return a name: a lower-case letter, then letters, digits and dashes, at most 31."""
        value = self.value(key, (str,), default)
        if value is None:
            raise self.bad(key, "is missing")
        if not re.fullmatch(NAME_PATTERN, value):
            raise self.bad(
                key,
                f"is {value!r}: write a lower-case letter, then at most 30 of a-z, 0-9 and -",
            )
        return str(value)

    def size(self, key: str, default: int) -> int:
        """Return a size in bytes."""
        try:
            return parse_size(self.value(key, (str, int), default))
        except ValueError as error:
            raise self.bad(key, f"is wrong: {error}") from error

    def choice(self, key: str, choices: type[_Choice], default: _Choice) -> _Choice:
        """Return one of an enumeration."""
        value = self.value(key, (str,), default.value)
        try:
            return choices(value)
        except ValueError:
            raise self.bad(
                key, f"is {value!r}: choose {' or '.join(one.value for one in choices)}"
            ) from None

    def address(self, key: str, default: str | None) -> str | None:
        """Return an address, or the default when it is absent."""
        value = self.value(key, (str,), default)
        return None if value is None else self.check_address(key, value)

    def check_address(self, key: str, value: str) -> str:
        """Refuse what is no address; unix paths are measured where they are placed."""
        if value.startswith("unix:") and value.removeprefix("unix:").strip("/"):
            return value
        try:
            check_address(value)
        except ValueError as error:
            raise self.bad(key, f"is wrong: {error}") from error
        return value

    def table(self, key: str) -> _Table:
        """Return a table inside this one; an empty one when it is absent."""
        return _Table(self.value(key, (dict,), {}), self._source, f"{self._place}{key}.")

    def tables(self, key: str) -> list[_Table]:
        """Return a list of tables inside this one."""
        found = self.value(key, (list,), [])
        if not all(isinstance(one, dict) for one in found):
            raise self.bad(key, "must be tables: write [[devices]]")
        return [_Table(one, self._source, f"{key}[{index}].") for index, one in enumerate(found)]


class _Placer:
    """Places unix sockets in the run folder."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()

    def address(self, address: str, key: str) -> str:
        """Make the path of a unix address absolute."""
        if not address.startswith("unix:"):
            return address
        placed = self.path(address.removeprefix("unix:").removeprefix("//"))
        try:
            return check_address(f"unix:{placed}")
        except ValueError as error:
            raise BadMachine(f"{key}: {error}") from error

    def path(self, path: str | None) -> str | None:
        """Make a path absolute."""
        return None if path is None else str(self._run_dir / path)
