"""The command line that the services of a machine have in common."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.request import getproxies

import click

from virtmesh.kinds.lock_options import needs_of_locks, with_lock_options
from virtmesh.kinds.option_types import Address, Events, Keepalive, LimitValues
from virtmesh.rpc.locks import NO_LOCKS, Locks
from virtmesh.sandbox import SANDBOX, Needs, ports_in, socket_folders
from virtmesh.telemetry import logging as logs
from virtmesh.telemetry import recorder as trace
from virtmesh_common import __version__
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


Command = TypeVar("Command", bound="Callable[..., Any]")


SERVING = (
    click.option(
        "--run-dir",
        type=click.Path(path_type=Path),
        default=Path(),
        help="Folder of relative unix sockets  [default: the current one]",
    ),
    click.option(
        "--listen",
        multiple=True,
        type=Address(),
        metavar="ADDRESS",
        help="unix:PATH or HOST:PORT; may be repeated  [default: as the machine file says]",
    ),
    click.option(
        "--metrics",
        metavar="ADDRESS",
        help="Serve /metrics of the whole machine there: unix:PATH or HOST:PORT; port 0: any.",
    ),
    click.option(
        "--keepalive",
        type=Keepalive(),
        default=KEEPALIVE_SECONDS,
        show_default=True,
        help="Seconds of silence after which a TCP client is pinged; 0: never.",
    ),
    click.option(
        "--recorder",
        type=Events(),
        default=trace.EVENTS_DEFAULT,
        show_default=True,
        help="Events that each driver's flight recorder keeps, 40 bytes each; 0: off.",
    ),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        type=LimitValues(),
        metavar="NAME=VALUE",
        help="Set a limit of docs/limits.md; may be repeated  [default: as the machine file says]",
    ),
    click.option(
        "--print-dtb",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the machine's device tree there (for dtc, or QEMU) and end.",
    ),
    click.option(
        "--log", "form", type=click.Choice(logs.FORMATS), default="text", help="Form of the log."
    ),
    click.option("--sandbox", **SANDBOX),
    click.version_option(__version__),
)
"""Options of where and how a machine is served."""


def serving_needs(
    places: Iterable[object], endpoints: Iterable[str], locks: Locks = NO_LOCKS
) -> Needs:
    """Return what a service needs of its sandbox that listens and drives devices.

    `places` are values that may say where to listen; `endpoints` are the addresses of its devices.
    """
    values, endpoints = list(places), list(endpoints)
    connect: tuple[int, ...] | None = ports_in(endpoints)
    if connect and getproxies():
        connect = None  # Connections may go through a proxy.
    needs = Needs(socket_folders(values), bind=ports_in(values), connects=True, connect=connect)
    return needs + needs_of_locks(locks)


def serving_options(command: Command) -> Command:
    """Give a command the options of `SERVING`, behind its own."""
    for option in reversed(SERVING):
        command = option(command)
    return with_lock_options(command)


@contextmanager
def reporting(program: str) -> Iterator[None]:
    """Run a service in the body; what it fails by is a line on standard error, with status 1."""
    try:
        yield
    except (VirtmeshError, OSError, ValueError) as error:
        say(f"{program}: {' '.join(str(error).split())}", err=True)
        sys.exit(1)
