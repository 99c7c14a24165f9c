"""Reading machine files: TOML, checked key by key. docs/machine.md describes them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from virtmesh.attach.notifier import DoorbellKind
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.kinds import find_kind, kind_names
from virtmesh.kinds.fault_option import parse_for
from virtmesh.kinds.feature_option import SEPARATOR
from virtmesh.machine.board import SLOTS, VIRTIO, platform_of
from virtmesh.machine.lines import key_lines
from virtmesh.machine.model import (
    CpuEntry,
    DeviceEntry,
    KernelEntry,
    Machine,
    OptionValue,
    PlicRule,
    SecurityEntry,
    TimeSource,
    WatchdogPolicy,
)
from virtmesh.machine.places import check_places, own_place
from virtmesh.machine.table import Table
from virtmesh.mmio.quirks import find_quirks
from virtmesh.rpc.locks import parse_role_socket
from virtmesh_common.errors import BadMachine
from virtmesh_common.fault.spec import SEPARATOR as FAULT_SEPARATOR
from virtmesh_common.limits import LIMITS, Limits, find
from virtmesh_common.sizes import check_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from virtmesh.kinds import DeviceKind
    from virtmesh.rpc.locks import Listener

DEVICE_HEADER = re.compile(r"\s*\[\[\s*devices\s*\]\]")
"""Begins a device."""


MEMORY, MEMORY_OF_CPU = 64 << 20, 128 << 20
"""RAM of a machine that names no size: for the drivers of our own, and for the kernel of a CPU."""
SLOT_QUIRKS = ("lenient", "legacy")
"""What can be put between the guest of a CPU and a virtio device."""
CPU_PATHS = ("kernel", "firmware", "initrd", "trace")
"""Keys of the `[cpu]` table that are paths of files."""
DEVICE_KEYS = (
    *("name", "kind", "endpoint", "slot", "address", "interrupt", "handover"),
    *("metrics", "vhost-user", "watchdog", "quirks", "faults", "options"),
)
"""Keys of a `[[devices]]` table."""


def load(path: Path | str) -> Machine:
    """Read a machine file. Errors: BadMachine, naming the file, the key and the mend."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
    except FileNotFoundError:
        raise BadMachine(f"{path}: no such machine file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadMachine(f"{path}: cannot be read: {error}") from error
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise BadMachine(f"{path}: not TOML: {error}") from error
    lines = [
        number for number, line in enumerate(text.splitlines(), 1) if DEVICE_HEADER.match(line)
    ]
    base = path.absolute().parent
    return parse(document, source=str(path), base=base, lines=lines, keys=key_lines(text))


def parse(
    document: Mapping[str, Any],
    *,
    source: str,
    base: Path,
    lines: Sequence[int] = (),
    keys: Mapping[str, int] = MappingProxyType({}),
) -> Machine:
    """Check a parsed machine file; paths among the options are relative to `base`.

    `lines` are those of the `[[devices]]` in the file, `keys` those of other keys: errors name
    them.

    Errors: BadMachine.
    """
    table = Table(document, source, "", keys)
    table.only(
        *("name", "memory", "doorbell", "interrupts", "device-tree", "kernel", "cpu", "devices"),
        *("security", "limits"),
    )
    tree = table.value("device-tree", (str,), None)
    machine = Machine(
        name=table.name("name", default="virtmesh"),
        memory=_memory(table, MEMORY_OF_CPU if "cpu" in table.keys else MEMORY),
        doorbell=table.choice("doorbell", DoorbellKind, DoorbellKind.EVENTFD),
        interrupts=table.choice("interrupts", InterruptMode, InterruptMode.INTERRUPT),
        kernel=_kernel(table.table("kernel")),
        cpu=_cpu(table.table("cpu"), base) if "cpu" in table.keys else None,
        device_tree=None if tree is None else str(base / tree),
        limits=_limits(table.table("limits")),
        security=_security(table.table("security"), base),
    )
    if tree is None:
        devices = _devices(table, base, lines, machine)
    else:
        devices = _bound_devices(table, base, lines)
    _check_quirks(table, machine.cpu, devices)
    return replace(machine, devices=devices)


def _check_quirks(table: Table, cpu: CpuEntry | None, devices: Sequence[DeviceEntry]) -> None:
    """Refuse quirks of slots that have no virtio device."""
    virtio = [one.name for one in devices if one.platform is VIRTIO]
    for name in cpu.quirks if cpu is not None else ():
        if name not in virtio:
            known = ", ".join(virtio) or "none"
            raise (
                table.table("cpu")
                .table("quirks")
                .bad(name, f"is unknown: virtio devices are {known}")
            )


def _memory(table: Table, default: int) -> int:
    """Check the size of the RAM."""
    try:
        return check_memory(table.size("memory", default=default))
    except ValueError as error:
        raise table.bad("memory", f"is wrong: {error}") from error


def _kernel(table: Table) -> KernelEntry:
    """Check the `[kernel]` table."""
    table.only("listen", "metrics", "listen-tokens", "listen-roles", "watchdog")
    listen = table.texts("listen", ["unix:kernel.sock"], "unix:kernel.sock")
    if not listen:
        raise table.bad(
            "listen", 'must be one address or a list of them, such as ["unix:kernel.sock"]'
        )
    tokens = table.texts("listen-tokens", [], "0.0.0.0:50052")
    return KernelEntry(
        listen=tuple(table.check_address("listen", one) for one in listen),
        metrics=table.address("metrics", default=None),
        listen_tokens=tuple(table.check_address("listen-tokens", one) for one in tokens),
        listen_roles=tuple(_role_socket(table, one) for one in _role_texts(table)),
        watchdog=table.choice("watchdog", WatchdogPolicy, WatchdogPolicy.REPORT),
    )


def _role_texts(table: Table) -> list[str]:
    """Return the sockets for roles, as they are written."""
    return table.texts("listen-roles", [], "observer=unix:observer.sock")


def _role_socket(table: Table, text: str) -> Listener:
    """Check a socket for a role; its path is placed later."""
    try:
        return parse_role_socket(text)
    except ValueError as error:
        raise table.bad("listen-roles", f"is wrong: {error}") from error


def _security(table: Table, base: Path) -> SecurityEntry:
    """Check the `[security]` table; its path is made absolute."""
    table.only("folder", "insecure")
    folder = table.value("folder", (str,), None)
    if not folder and folder is not None:
        raise table.bad("folder", "is empty: name the folder, or leave the key out")
    return SecurityEntry(
        None if folder is None else str(base / folder),
        insecure=table.value("insecure", (bool,), default=False),
    )


def _limits(table: Table) -> Limits:
    """Check the `[limits]` table."""
    table.only(*(one.name for one in LIMITS))
    for key in table.keys:
        value = table.value(key, (str, int), 0)
        try:
            find(key).parse(value)
        except ValueError as error:
            raise table.bad(key, f"is wrong: {error}") from error
    return Limits.of({key: table.value(key, (str, int), 0) for key in table.keys})


def _cpu(table: Table, base: Path) -> CpuEntry:
    """Check the `[cpu]` table; its paths are made absolute."""
    table.only(*CPU_PATHS, "append", "time", "plic", "quirks", "serial-8n1", "halted", "gdb")
    given = {key: table.value(key, (str,), None) for key in CPU_PATHS}
    paths = {key: None if path is None else str(base / path) for key, path in given.items()}
    return CpuEntry(
        **paths,
        append=table.value("append", (str,), ""),
        time=table.choice("time", TimeSource, TimeSource.REAL),
        plic=table.choice("plic", PlicRule, PlicRule.SPEC),
        quirks=_slot_quirks(table.table("quirks")),
        serial_8n1=table.value("serial-8n1", (bool,), default=False),
        halted=table.value("halted", (bool,), default=False),
        gdb=table.address("gdb", default=None),
    )


def _slot_quirks(table: Table) -> dict[str, str]:
    """Check the quirks of slots, by name of the device."""
    quirks = {}
    for name in table.keys:
        quirks[name] = table.value(name, (str,), "")
        if quirks[name] not in SLOT_QUIRKS:
            raise table.bad(name, f"must be {' or '.join(SLOT_QUIRKS)}")
    return quirks


def _devices(
    table: Table, base: Path, lines: Sequence[int], machine: Machine
) -> tuple[DeviceEntry, ...]:
    """Check every `[[devices]]` table, and give places to those that name none."""
    tables = table.tables("devices", lines)
    kinds = [_kind(one) for one in tables]
    wanted = [_slot(one) for one in tables]
    free = {
        platform.node: iter(sorted(set(range(len(platform.places))).difference(taken)))
        for platform, taken in ((VIRTIO, wanted), *((platform_of(kind), ()) for kind in kinds))
        if platform is not VIRTIO or taken is wanted
    }
    devices = []
    for one, kind, slot in zip(tables, kinds, wanted, strict=True):
        platform = platform_of(kind)
        given = next(free[platform.node], None) if slot is None else slot
        if given is None:
            of_kind = f" of kind {kind}" if platform is not VIRTIO else ""
            raise table.bad(
                "devices", f"has more than the {len(platform.places)} devices{of_kind} of the board"
            )
        own = own_place(one, platform.places[given])
        devices.append(replace(_device(one, given, base), own_place=own))
    _no_twins(devices, table)
    check_places(tables, devices, machine.memory)
    return tuple(devices)


def _bound_devices(table: Table, base: Path, lines: Sequence[int]) -> tuple[DeviceEntry, ...]:
    """Check every `[[devices]]` table of a machine that has a device tree of its own."""
    devices = []
    for one in table.tables("devices", lines):
        _kind(one)
        address = one.value("address", (int,), None)
        if address is None or not 0 <= address < 1 << 64:
            raise one.bad("address", "must say where its node is: write one such as 0x10008000")
        for key in ("slot", "interrupt"):
            if key in one.keys:
                raise one.bad(key, "is for the board's own slots: leave it out, address says it")
        devices.append(replace(_device(one, 0, base), node_address=address))
    _no_twins(devices, table, on_slots=False)
    return tuple(devices)


def _kind(table: Table) -> str:
    """Return the kind of a device."""
    kind = table.name("kind")
    if kind not in kind_names():
        near = get_close_matches(kind, kind_names(), n=1)
        mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(kind_names())}"
        raise table.bad("kind", f"is {kind!r}, and no kind of device has that name: {mend}")
    return kind


def _slot(table: Table) -> int | None:
    """Return the virtio-mmio slot that a device asks for."""
    slot: int | None = table.value("slot", (int,), None)
    if slot is None:
        return None
    kind = table.name("kind")
    if platform_of(kind) is not VIRTIO:
        raise table.bad("slot", f"is for virtio-mmio devices: leave it out, a {kind} needs none")
    if not 0 <= slot < SLOTS:
        raise table.bad("slot", f"must be from 0 to {SLOTS - 1}")
    return slot


def _device(table: Table, slot: int, base: Path) -> DeviceEntry:
    """Check one `[[devices]]` table."""
    table.only(*DEVICE_KEYS)
    name = table.name("name")
    kind = table.name("kind")
    endpoint = table.address("endpoint", default=f"unix:{name}.sock")
    handover = table.value("handover", (str,), None)
    if endpoint is not None and not endpoint.startswith("unix:") and handover is None:
        raise table.bad(
            "endpoint", 'is not a unix socket: add handover = "PATH", the socket that takes memory'
        )
    for_guests = table.value("vhost-user", (bool,), default=False)
    if for_guests and platform_of(kind) is not VIRTIO:
        raise table.bad("vhost-user", f"is for virtio devices: leave it out, a {kind} is none")
    entry = DeviceEntry(
        name=name,
        kind=kind,
        endpoint=endpoint or "",
        slot=slot,
        handover=handover,
        metrics=table.address("metrics", default=None),
        vhost_user=f"{name}.vhost-user" if for_guests else None,
        watchdog=table.choice("watchdog", WatchdogPolicy, WatchdogPolicy.REPORT),
        options=_options(table.table("options"), base, find_kind(kind))
        | _quirks(table)
        | _faults(table),
    )
    try:
        entry.properties()
    except ValueError as error:
        raise table.bad("options", f"are wrong: {error}") from error
    return entry


def _quirks(table: Table) -> dict[str, OptionValue]:
    """Check the quirks of a device; return them as its option `quirks`."""
    names = table.value("quirks", (list,), [])
    if not names:
        return {}
    if not all(isinstance(name, str) for name in names):
        raise table.bad("quirks", 'must be a list of names, such as ["tolerate_no_version_1"]')
    try:
        find_quirks(names, find_kind(table.name("kind")).quirks)
    except ValueError as error:
        raise table.bad("quirks", f"are wrong: {error}") from error
    return {"quirks": SEPARATOR.join(names)}


def _faults(table: Table) -> dict[str, OptionValue]:
    """Check the faults of a device; return them as its option `faults`."""
    texts = table.value("faults", (list,), [])
    if not all(isinstance(text, str) for text in texts):
        raise table.bad("faults", 'must be a list of texts, such as ["io-error type=write"]')
    kind = find_kind(table.name("kind"))
    try:
        for text in texts:
            parse_for(kind, text)
    except ValueError as error:
        raise table.bad("faults", f"are wrong: {error}") from error
    return {"faults": FAULT_SEPARATOR.join(texts)} if texts else {}


def _options(table: Table, base: Path, kind: DeviceKind) -> dict[str, OptionValue]:
    """Check the options of a device: plain values, paths made absolute."""
    options: dict[str, OptionValue] = {}
    for key in table.keys:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", key):
            raise table.bad(
                key, "is no option: spell it as the command line does, without dashes before it"
            )
        is_path = key in kind.path_options
        value = table.value(key, (str,) if is_path else (str, int, bool), None)
        is_path |= key in kind.name_or_path_options and str(value).endswith(".toml")
        options[key] = str(base / value) if is_path else value
    return options


def _no_twins(devices: Sequence[DeviceEntry], table: Table, *, on_slots: bool = True) -> None:
    """Refuse two devices of one name, one endpoint, and one slot or one address."""
    place, placed = "node_address", devices
    if on_slots:
        place, placed = "slot", [device for device in devices if device.platform is VIRTIO]
    for key, sharers in (("name", devices), ("endpoint", devices), (place, placed)):
        seen: set[object] = set()
        for device in sharers:
            value = getattr(device, key)
            if value in seen:
                what = f"address {value:#x}" if key == "node_address" else f"{key} {value}"
                raise table.bad("devices", f"has two devices of the {what}")
            seen.add(value)
