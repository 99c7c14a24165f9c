"""Commands that other distributions add, by entry points of the group `virtmesh_client.commands`.

The name of an entry point is the command's, with its group's before it: `up`, `trace.replay`. The
distribution `virtmesh` adds what needs the code of the services on this host.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

GROUP = "virtmesh_client.commands"
OF_SERVICES = ("trace.replay", "up")
"""What `virtmesh` adds: without it, they are listed still, and say what to install."""


class AddedCommands(click.Group):
    """A group of commands that other distributions add to: what begins with `prefix`."""

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
            command: click.Command = added[name].load()
            return command
        if name in OF_SERVICES:
            return missing_command(name.replace(".", " "))
        return super().get_command(ctx, cmd_name)


def is_in(name: str, prefix: str) -> bool:
    """Say whether an entry point is a command of just the group with this prefix."""
    return name.startswith(prefix) and "." not in name.removeprefix(prefix)


def entry_point_of() -> dict[str, EntryPoint]:
    """Return the entry points that are installed, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def missing_command(name: str) -> click.Command:
    """Make the command that says what it takes to have it."""

    def refuse() -> None:
        raise click.ClickException(
            f"virtmesh {name} needs the devices' own code on this host: pip install virtmesh"
        )

    return click.Command(
        name.rsplit(maxsplit=1)[-1],
        callback=refuse,
        context_settings={"ignore_unknown_options": True},
        help="Not installed here: pip install virtmesh.",
        params=[click.Argument(["arguments"], nargs=-1, expose_value=False)],
    )
