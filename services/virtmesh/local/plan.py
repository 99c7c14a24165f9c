"""What `virtmesh up` starts: the processes of a machine and their command lines."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh import machine as machine_file
from virtmesh.kinds import DeviceKind, find_kind
from virtmesh.local.module_process import module_argv
from virtmesh_common.channel import UNIX_PATH_LIMIT
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOST_MODULES = (
    "virtmesh_native",
    "grpc_health",
    "grpc_reflection",
    "prometheus_client",
    "structlog",
    "uvloop",
)
"""What the extra `host` brings."""
HANDOVER_SUFFIX = ".handover"
"""What `virtmesh-device` adds to its first unix address to make the handover socket's path."""


SHORT_FLAGS = {"blk": {"ro": "read-only"}}
"""Shorter names of options that need no value, by kind of device."""
SERIAL_NAME = "serial"
"""Name of the serial port of a machine without a file."""
NAME_KEY = "name="
"""Begins what names a device on a command line."""


@dataclass(frozen=True)
class Command:
    """One process to start."""

    name: str
    kind: str
    argv: tuple[str, ...]
    address: str
    metrics: str = ""


@dataclass(frozen=True)
class Plan:
    """A machine to start, in its run folder."""

    name: str
    run_dir: Path
    devices: tuple[Command, ...]
    kernel: Command

    @property
    def commands(self) -> tuple[Command, ...]:
        """All processes, in the order in which they start."""
        return (*self.devices, self.kernel)


def make_plan(file: Path, run_dir: Path, name: str | None = None) -> Plan:
    """Plan the machine of a machine file. Errors: BadMachine."""
    check_host()
    machine = machine_file.load(file).resolve(run_dir)
    taken: set[int] = set()
    devices = tuple(_device(entry, taken) for entry in machine.devices)
    metrics = pick_port(machine.kernel.metrics or "", taken)
    options = ["--machine", str(file), "--run-dir", str(run_dir)]
    for address in machine.kernel.listen:
        options += ["--listen", address]
    if metrics:
        options += ["--metrics", metrics]
    argv = module_argv("virtmesh.kernel.main", *options)
    kernel = Command("kernel", "kernel", argv, machine.kernel.listen[0], metrics)
    return Plan(name or machine.name, run_dir, devices, kernel)


def check_host() -> None:
    """Refuse to start without what hosting needs. Errors: BadMachine, with the mend."""
    missing = [name for name in HOST_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise BadMachine(
            f"hosting devices needs more than the client ({', '.join(missing)} is missing): run"
            " pip install 'virtmesh[host]'"
        )


def pick_port(address: str, taken: set[int]) -> str:
    """Replace port 0 by a free one, so that a restarted process keeps its address."""
    host, colon, port = address.rpartition(":")
    if not colon or port != "0":
        return address
    while True:
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), 0))
            number: int = probe.getsockname()[1]
        if number not in taken:
            taken.add(number)
            return f"{host}:{number}"


def quick_machine(  # noqa: PLR0913 - each is an option of `virtmesh up`
    name: str,
    disks: Sequence[str],
    inputs: Sequence[str] = (),
    serial: str | None = None,
    *,
    devices: Sequence[str] = (),
    vhost_user: bool = False,
) -> str:
    """Return the machine file for devices given on a command line.

    A disk is IMAGE[,size=64M][,ro][,OPTION=VALUE], an input device PERSONALITY[,OPTION=VALUE], a
    serial port [pace][,OPTION=VALUE] (None for no port), any other device
    KIND[,name=NAME][,OPTION=VALUE]. With `vhost_user`, virtio devices are left to guests.
    Errors: BadMachine.
    """
    lines = [f"name = {quote(name)}", "[kernel]", 'metrics = "127.0.0.1:0"']
    others = [_split(text) for text in devices]
    on_slots = len(disks) + len(inputs) + sum(kind.platform is None for kind, *_ in others)
    if on_slots > machine_file.SLOTS:
        raise BadMachine(f"{on_slots} devices: the machine has {machine_file.SLOTS} slots")
    names = _Names()
    for index, disk in enumerate(disks):
        image, *options = disk.split(",")
        lines += _table(names.take(f"vd{chr(ord('a') + index)}"), "blk", vhost_user=vhost_user)
        lines += [f"image = {quote(str(Path(image).absolute()))}"]
        lines += _options(disk, options, find_kind("blk"))
    for text in inputs:
        personality, *options = text.split(",")
        is_file = personality.endswith(".toml")
        stem = Path(personality).stem if is_file else personality
        lines += _table(names.take(stem), "input", vhost_user=vhost_user)
        value = str(Path(personality).absolute()) if is_file else personality
        lines += [f"personality = {quote(value)}", *_options(text, options, find_kind("input"))]
    if serial is not None:
        lines += _table(names.take(SERIAL_NAME), "uart", vhost_user=False)
        lines += _options(serial, serial.split(",") if serial else [], find_kind("uart"))
    for text, (kind, given, options) in zip(devices, others, strict=True):
        left = vhost_user and kind.platform is None
        lines += _table(given or names.take(kind.name), kind.name, vhost_user=left)
        lines += _options(text, options, kind)
    return "\n".join(lines) + "\n"


class _Names:
    """Names for devices: the second of a name gets a number."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def take(self, name: str) -> str:
        """Return a name that is free."""
        self._used[name] += 1
        return name if self._used[name] == 1 else f"{name}-{self._used[name]}"


def _split(text: str) -> tuple[DeviceKind, str, list[str]]:
    """Split KIND[,name=NAME][,OPTION=VALUE] into kind, name and options. Errors: BadMachine."""
    kind, *options = text.split(",")
    names = [option for option in options if option.startswith(NAME_KEY)]
    if len(names) > 1:
        raise BadMachine(f"{text}: it has {len(names)} names: give it one")
    name = names[0].removeprefix(NAME_KEY) if names else ""
    return find_kind(kind), name, [option for option in options if option not in names]


def _table(name: str, kind: str, *, vhost_user: bool) -> list[str]:
    """Return the head of a device's table."""
    return [
        "[[devices]]",
        f"name = {quote(name)}",
        f"kind = {quote(kind)}",
        'metrics = "127.0.0.1:0"',
        f"vhost-user = {str(vhost_user).lower()}",
        "[devices.options]",
    ]


def _options(text: str, options: Sequence[str], kind: DeviceKind) -> Iterator[str]:
    """Return the lines of the options of a device. Errors: BadMachine."""
    flags = SHORT_FLAGS.get(kind.name, {}) | {
        name: name
        for option in kind.options
        if option.is_flag
        for name in (long.removeprefix("--") for long in option.opts)
    }
    for option in options:
        key, equals, value = option.partition("=")
        if key in flags and not equals:
            yield f"{flags[key]} = true"
        elif equals and key and value:
            is_path = key in kind.path_options
            is_path |= key in kind.name_or_path_options and value.endswith(".toml")
            yield f"{quote(key)} = {quote(str(Path(value).absolute()) if is_path else value)}"
        else:
            words = " or ".join([*flags, "OPTION=VALUE"])
            raise BadMachine(f"{text}: {option!r} makes no sense: write {words}")


def quote(text: str) -> str:
    """Quote a string for TOML. Errors: BadMachine for control characters."""
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text):
        raise BadMachine(f"{text!r} holds control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _device(entry: machine_file.DeviceEntry, taken: set[int]) -> Command:
    """Plan one device. Errors: BadMachine when the paths of its sockets are too long."""
    if entry.endpoint.startswith("unix:") and entry.handover is None:
        excess = len(os.fsencode(entry.endpoint[5:] + HANDOVER_SUFFIX)) - UNIX_PATH_LIMIT
        if excess > 0:
            raise BadMachine(
                f"the path of {entry.endpoint}{HANDOVER_SUFFIX} is {excess} bytes too long for a"
                " socket: choose a shorter folder with --run-dir"
            )
    metrics = pick_port(entry.metrics or "", taken)
    entry = replace(entry, metrics=metrics or None)
    argv = module_argv("virtmesh.host.main", *entry.arguments())
    return Command(entry.name, entry.kind, argv, entry.endpoint, metrics)
