"""Commands that distributions add, by entry points of the group `virtmesh_client.commands`.

The name of an entry point is the command's, with its group's before it: `up`, `trace.replay`. The
distribution `virtmesh` adds what needs the code of the services on this host. The commands about a
kind of device are added like this too: those of the client by the client itself (`blk`, `serial`).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

GROUP = "virtmesh_client.commands"
OF_SERVICES = ("trace.replay", "up")
"""What `virtmesh` adds: without it, they are listed still, and say what to install."""
INSTALL_AGAIN = (
    "The commands about kinds of devices are missing: this installation of virtmesh-client is"
    " incomplete or older than its code; install it again."
)
"""What is to be done when not even the client's own entry points are there."""


class AddedCommands(click.Group):
    """A group of commands that distributions add to: what begins with `prefix`."""

    def __init__(self, *arguments: Any, prefix: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        added = [name for name in {*OF_SERVICES, *entry_point_of()} if is_in(name, self._prefix)]
        return sorted({*super().list_commands(ctx), *(name.split(".")[-1] for name in added)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; one that is added is imported now."""
        name = self._prefix + cmd_name
        added = entry_point_of()
        if name in added:
            return load(added[name])
        if name in OF_SERVICES:
            return missing_command(name.replace(".", " "))
        return super().get_command(ctx, cmd_name)


def is_in(name: str, prefix: str) -> bool:
    """Say whether an entry point is a command of just the group with this prefix."""
    return name.startswith(prefix) and "." not in name.removeprefix(prefix)


@cache
def entry_point_of() -> dict[str, EntryPoint]:
    """Return the entry points that are installed, by name; the client's win over others."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=is_of_client)}


def is_of_client(point: EntryPoint) -> bool:
    """Say whether an entry point is in the client's own code."""
    return point.module.partition(".")[0] == "virtmesh_client"


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
