"""A command that is listed without being imported: its name and the first line of its help."""

from __future__ import annotations

import importlib

import click


class ListedCommand(click.Command):
    """Stands for a command in a list, such as that of --help or of Tab."""

    def __init__(self, name: str, summary: str, place: str) -> None:
        super().__init__(name, help=summary)
        self._place = place
        """MODULE:NAME, as an entry point spells it."""

    def load(self) -> click.Command:
        """Import the command."""
        module, _, name = self._place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


class ListingGroup(click.Group):
    """A group that has listed commands: the one that is called is imported."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called. Errors: UsageError."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, ListedCommand) else command, rest
