"""What is checked of a machine before `virtmesh up` starts any of its processes.

What only the process itself can find out, such as that an image is locked, it says itself.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import click

from virtmesh.kinds import find_kind
from virtmesh_common.errors import BadMachine, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.machine import DeviceEntry, Machine


def check_machine(machine: Machine) -> None:
    """Check the options of every device, their files, and the ports. Errors: BadMachine."""
    for entry in machine.devices:
        check_device(entry)
    check_files(machine)
    check_ports(machine)


def check_device(entry: DeviceEntry) -> None:
    """Parse the options of a device as its process will. Errors: BadMachine."""
    # It takes time to import, and only a machine that is started needs it.
    from virtmesh.host.main import kind_command, split_common  # noqa: PLC0415

    kind = find_kind(entry.kind)
    try:
        context = kind_command(kind).make_context(entry.kind, entry.arguments()[1:])
        kind.check(**split_common(context.params))
    except click.ClickException as error:
        text = " ".join(error.format_message().split())
        raise BadMachine(
            f"{entry.name}: {text}; see virtmesh-device {entry.kind} --help"
        ) from error
    except (VirtmeshError, OSError, ValueError) as error:
        raise BadMachine(f"{entry.name}: {error}") from error


def check_files(machine: Machine) -> None:
    """Refuse a file that two devices have, unless both only read it. Errors: BadMachine."""
    seen: dict[tuple[int, int], DeviceEntry] = {}
    for entry in machine.devices:
        for option in find_kind(entry.kind).path_options:
            path = str(entry.options.get(option, ""))
            try:
                about = os.stat(path)  # noqa: PTH116 - of any kind of file
            except (OSError, ValueError):
                continue
            other = seen.setdefault((about.st_dev, about.st_ino), entry)
            if other is not entry and not (reads_only(entry) and reads_only(other)):
                raise BadMachine(
                    f"{other.name} and {entry.name} have the same {option} {path}: give one of them"
                    " another, or make both read-only"
                )


def reads_only(entry: DeviceEntry) -> bool:
    """Say whether a device only reads its files."""
    return bool(entry.options.get("read-only"))


def check_ports(machine: Machine) -> None:
    """Refuse a TCP port that is taken, or is there twice. Errors: BadMachine."""
    seen: dict[str, str] = {}
    for key, address in fixed_ports(machine):
        if address in seen:
            raise BadMachine(f"{seen[address]} and {key} are both {address}: choose another port")
        seen[address] = key
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            kind = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, int(port)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BadMachine(
                    f"{key}: another process listens at {address}: stop it, or choose another port"
                ) from None
            raise BadMachine(
                f"{key}: this host can't listen at {address}: {error.strerror}"
            ) from error


def fixed_ports(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield where processes will listen on TCP, with the key; port 0 is any, and left out."""
    listens = [("kernel.listen", one) for one in machine.kernel.listen]
    listens += [(f"{one.name}.endpoint", one.endpoint) for one in machine.devices]
    listens += [("kernel.metrics", machine.kernel.metrics or "")]
    listens += [(f"{one.name}.metrics", one.metrics or "") for one in machine.devices]
    for key, address in listens:
        _, colon, port = address.rpartition(":")
        if colon and not address.startswith("unix:") and port != "0":
            yield key, address
