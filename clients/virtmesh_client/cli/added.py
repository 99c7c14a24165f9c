"""Commands that distributions add, by entry points of the group `virtmesh_client.commands`.

The name of an entry point is the command's, with its group's before it: `up`, `trace.replay`. The
distribution `virtmesh` adds what needs the code of the services on this host. The commands about a
kind of device are added like this too: those of the client by the client itself (`blk`, `serial`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import click

from virtmesh_client.cli.listed import ListedCommand, ListingGroup

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "virtmesh_client.commands"
OF_SERVICES = ("boot", "trace.replay", "up")
"""What `virtmesh` adds: without it, they are listed still, and say what to install."""
OF_PROJECT = ("virtmesh_client", "virtmesh")
"""The packages of the project itself, whose commands are in SUMMARIES."""
SUMMARIES = {
    "boot": "Boot an unmodified RISC-V kernel with devices.",
    "blk": "Use a disk: read, write, copy, resize, watch.",
    "console": "Talk to the machine on its serial console.",
    "input": "Press keys, type, move pointers, touch; record and replay.",
    "screen": "See what a GPU shows: screenshots, waiting, films, modes, VNC.",
    "serial": "Show a serial port, send files and breaks, set modem lines.",
    "trace.replay": "Replay the register accesses of a saved trace, and show what differs.",
    "up": "Start a machine as local processes, and keep it running.",
}
"""The first lines of the help of our own commands: so a list of commands imports none of them."""
INSTALL_AGAIN = (
    "The commands about kinds of devices are missing: this installation of virtmesh-client is"
    " incomplete or older than its code; install it again."
)
"""What is to be done when not even the client's own entry points are there."""


class AddedCommands(ListingGroup):
    """A group of commands that distributions add to: what begins with `prefix`."""

    def __init__(self, *arguments: Any, prefix: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        added = [name for name in {*OF_SERVICES, *entry_point_of()} if is_in(name, self._prefix)]
        return sorted({*super().list_commands(ctx), *(name.split(".")[-1] for name in added)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one that is added is imported now, unless it is the project's own."""
        name = self._prefix + cmd_name
        point = entry_point_of().get(name)
        if point is not None and is_of_project(point) and name in SUMMARIES:
            return ListedEntryPoint(cmd_name, SUMMARIES[name], point)
        if point is not None:
            return load(point)
        if name in OF_SERVICES:
            return missing_command(name.replace(".", " "))
        return super().get_command(ctx, cmd_name)


class ListedEntryPoint(ListedCommand):
    """A command of the project that is added by an entry point."""

    def __init__(self, name: str, summary: str, point: EntryPoint) -> None:
        super().__init__(name, summary, point.value)
        self._point = point

    def load(self) -> click.Command:
        """Import the command; see `load`."""
        return load(self._point)


def is_in(name: str, prefix: str) -> bool:
    """Say whether an entry point is a command of just the group with this prefix."""
    return name.startswith(prefix) and "." not in name.removeprefix(prefix)


@cache
def entry_point_of() -> dict[str, EntryPoint]:
    """Return the entry points that are installed, by name; the client's win over others."""
    from importlib.metadata import entry_points  # noqa: PLC0415 - many commands do without

    return {point.name: point for point in sorted(entry_points(group=GROUP), key=is_of_client)}


def is_of_client(point: EntryPoint) -> bool:
    """Say whether an entry point is in the client's own code."""
    return point.module.partition(".")[0] == "virtmesh_client"


def is_of_project(point: EntryPoint) -> bool:
    """Say whether an entry point is in the code of the project."""
    return point.module.partition(".")[0] in OF_PROJECT


def client_has_entry_points() -> bool:
    """Say whether the client is installed with its commands: its code may be newer than that."""
    return any(map(is_of_client, entry_point_of().values()))


def load(point: EntryPoint) -> click.Command:
    """Import a command; one that can't be imported becomes a command that says so."""
    try:
        command = point.load()
    except (ImportError, AttributeError) as error:
        return broken_command(point, str(error))
    if not isinstance(command, click.Command):
        return broken_command(point, "it is no click.Command")
    return command


def broken_command(point: EntryPoint, why: str) -> click.Command:
    """Make the command that says what is wrong with an entry point."""
    spelt = point.name.replace(".", " ")
    return refusing_command(
        spelt,
        f"virtmesh {spelt} can't be loaded from {point.value}: {why}; install its distribution"
        " again, or remove it",
        "Broken: install its distribution again.",
    )


def missing_command(name: str) -> click.Command:
    """Make the command that says what it takes to have it."""
    return refusing_command(
        name,
        f"virtmesh {name} needs the devices' own code on this host: pip install virtmesh",
        "Not installed here: pip install virtmesh.",
    )


def refusing_command(name: str, message: str, summary: str) -> click.Command:
    """Make a command that fails with a message, whatever its arguments."""

    def refuse() -> None:
        raise click.ClickException(message)

    return click.Command(
        name.rsplit(maxsplit=1)[-1],
        callback=refuse,
        context_settings={"ignore_unknown_options": True},
        help=summary,
        params=[click.Argument(["arguments"], nargs=-1, expose_value=False)],
    )
