"""`virtmesh-device KIND`: serve one device.

The kinds are found (virtmesh.kinds); a new one needs no change here.
"""

from __future__ import annotations

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported

# isort: split
import os
import sys
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX
from virtmesh.host.host import Addresses, Host
from virtmesh.kinds import find_kind, kind_names
from virtmesh.kinds.fault_option import faults_option
from virtmesh.kinds.lock_options import lock_options, needs_of_locks, take_locks
from virtmesh.kinds.option_types import Address, Events, Keepalive, LimitValues, Name, Size
from virtmesh.rpc import loop
from virtmesh.rpc.peers import Peers
from virtmesh.rpc.server import catch_signals, socket_path
from virtmesh.sandbox import (
    ON,
    SANDBOX,
    Access,
    Needs,
    Sandbox,
    needs_of_paths,
    ports_in,
    socket_folders,
)
from virtmesh.telemetry import logging as logs
from virtmesh.telemetry.recorder import EVENTS_DEFAULT
from virtmesh_common import __version__
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import BadMachine, VirtmeshError
from virtmesh_common.limits import SERVICE_LIMIT, Limits, parse_pairs
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.kinds import DeviceKind
    from virtmesh.mmio.device import Device

log = structlog.get_logger(__name__)

ID_MAX = 0xFFFFFFFE
"""Largest number of a user or group."""
COMMON = (
    click.Option(["--name"], required=True, type=Name(), help="Name on the machine, such as vda."),
    click.Option(
        ["--listen"],
        required=True,
        multiple=True,
        type=Address(),
        metavar="ADDRESS",
        help="unix:PATH or HOST:PORT; may be repeated.",
    ),
    click.Option(
        ["--handover"],
        type=click.Path(path_type=Path),
        help="Socket that takes drivers' memory  [default: first unix path + .handover]",
    ),
    click.Option(
        ["--vhost-user"],
        type=click.Path(path_type=Path),
        help="Socket that takes vhost-user front ends, such as those of QEMU and user-mode Linux.",
    ),
    click.Option(
        ["--vhost-user-in-band"],
        is_flag=True,
        help="Offer them notifications in messages, for simulators: slow, each is a round trip.",
    ),
    *lock_options(),
    click.Option(
        ["--peer-uid"],
        multiple=True,
        type=click.IntRange(0, ID_MAX),
        metavar="UID",
        help="A user whose processes may attach or be front ends, beside this one and root.",
    ),
    click.Option(
        ["--peer-gid"],
        multiple=True,
        type=click.IntRange(0, ID_MAX),
        metavar="GID",
        help="A group whose processes may; may be repeated.",
    ),
    click.Option(
        ["--metrics"],
        metavar="ADDRESS",
        help="Serve /metrics of this device there as well: unix:PATH or HOST:PORT; port 0: any.",
    ),
    click.Option(
        ["--keepalive"],
        type=Keepalive(),
        default=KEEPALIVE_SECONDS,
        show_default=True,
        help="Seconds of silence after which a TCP client is pinged; 0: never.",
    ),
    click.Option(
        ["--guest-memory-max"],
        type=Size(),
        default=GUEST_MEMORY_MAX,
        show_default="1T",
        help="Most memory that a driver may hand over: it can be charged to this service.",
    ),
    click.Option(
        ["--recorder"],
        type=Events(),
        default=EVENTS_DEFAULT,
        show_default=True,
        help="Events that the flight recorder keeps, 40 bytes each; 0: off.",
    ),
    faults_option(),
    click.Option(["--sandbox"], **SANDBOX),
    click.Option(
        ["--limit", SERVICE_LIMIT, "service_limits"],
        multiple=True,
        type=LimitValues(),
        metavar="NAME=VALUE",
        help="Set a limit of docs/limits.md; may be repeated.",
    ),
    click.Option(
        ["--log"],
        type=click.Choice(logs.FORMATS),
        default="text",
        show_default=True,
        help="Form of the log on stderr.",
    ),
)


class Kinds(click.Group):
    """The kinds of devices as commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the kinds."""
        return list(kind_names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a kind."""
        if cmd_name not in kind_names():
            return None
        try:
            return kind_command(find_kind(cmd_name))
        except BadMachine as error:
            return Broken(cmd_name, str(error))


class Broken(click.Command):
    """The command of a kind whose package is broken: it takes anything, and says what is wrong."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, short_help="can't be used: its package is broken", help=why)
        self.why = why

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse. Errors: ClickException."""
        raise click.ClickException(self.why)


def common_options(kind: DeviceKind) -> list[click.Option]:
    """Return the options of every device, as the command of a kind has them.

    A spelling that the kind has itself is the kind's. Errors: BadMachine when the common option
    has no other one.
    """
    taken = {spelling for option in kind.options for spelling in option.opts}
    names = {option.name for option in kind.options}
    left = []
    for option in COMMON:
        own = copy(option)
        own.opts = [one for one in option.opts if one not in taken]
        if not own.opts or own.name in names:
            raise BadMachine(
                f"devices of kind {kind.name} have an option {option.opts[0]}, as every device has:"
                " its package has to give it another name"
            )
        left.append(own)
    return left


def kind_command(kind: DeviceKind) -> click.Command:
    """Make the command of a kind. Errors: BadMachine."""
    return click.Command(
        kind.name,
        params=[*common_options(kind), *kind.options],
        callback=serve(kind),
        short_help=kind.title,
        help=kind.title,
    )


def split_common(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of a command's options that are the kind's own."""
    common = {one.name for one in COMMON}
    return {name: value for name, value in options.items() if name not in common}


def serve(kind: DeviceKind) -> Callable[..., None]:
    """Return what a kind's command does."""

    def command(
        *, name: str, recorder: int, log: logs.Format, sandbox: str, **options: Any
    ) -> None:
        logs.configure(log)
        faults = options.pop("faults")
        addresses = take_addresses(options)
        try:
            kind.prepare(**options)
            box = Sandbox(needs_of(kind, options, addresses), is_on=sandbox == ON)
            box.confine()
            make = partial(kind.make, name, **options)
            host = partial(Host, addresses=addresses, kind=kind, recorder=recorder, faults=faults)
            loop.run(run(make, host, box))
        except (VirtmeshError, OSError, ValueError) as error:
            message = " ".join(str(error).split())
            say(f"virtmesh-device: {message}", err=True)
            sys.exit(1)

    return command


def take_addresses(options: dict[str, Any]) -> Addresses:
    """Take what says where to serve out of a command's options."""
    listen = options.pop("listen")
    return Addresses(
        listen,
        options.pop("handover") or default_handover(listen),
        options.pop("metrics"),
        options.pop("vhost_user"),
        in_band=options.pop("vhost_user_in_band"),
        keepalive=options.pop("keepalive"),
        limits=Limits.of(parse_pairs(options.pop("service_limits"))),
        guest_memory_max=options.pop("guest_memory_max"),
        locks=take_locks(options),
        peers=Peers(frozenset(options.pop("peer_uid")), frozenset(options.pop("peer_gid"))),
    )


def default_handover(listen: tuple[str, ...]) -> Path | None:
    """Return the handover socket beside the first unix socket, if there is one."""
    for address in listen:
        path = socket_path(address)
        if path is not None:
            return path.with_name(path.name + ".handover")
    return None


def needs_of(kind: DeviceKind, options: dict[str, Any], addresses: Addresses) -> Needs:
    """Return what a service of a kind needs of its sandbox, with these options of the kind."""
    places = list(vars(addresses).values())
    sockets = [path.absolute() for path in (addresses.handover, addresses.vhost_user) if path]
    folders = [(path.parent, Access.SOCKETS) for path in sockets]
    needs = Needs((*socket_folders(places), *folders), bind=ports_in(places))
    needs += needs_of_locks(addresses.locks)
    if kind.needs is not None:
        return needs + kind.needs(**options)
    given = (options.get(one.replace("-", "_")) for one in kind.path_options)
    return needs + needs_of_paths(Path(path) for path in given if path)


async def run(
    make: Callable[[], Device], host_of: Callable[[Device], Host], sandbox: Sandbox
) -> None:
    """Make a device and serve it by its host until a signal asks for the end."""
    stop = catch_signals()
    host = host_of(make())
    try:
        await host.start(sandbox.seal)
        number = await stop
        log.info("stopping", signal=number.name)
    finally:
        if not await host.stop():
            sys.stderr.flush()
            os._exit(1)  # threads that wait for storage, or for a hostile driver, end with it


@click.command(cls=Kinds, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Serve one device of a machine."""


if __name__ == "__main__":
    main()
