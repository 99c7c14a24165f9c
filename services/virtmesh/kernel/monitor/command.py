"""A command of the monitor: its name, its parameters, and what it does.

Parameters are click's, so spelling, types and mistakes are what people know from a shell.
"""

from __future__ import annotations

import inspect
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from virtmesh.kernel.monitor.shell import Shell

    Run = Callable[..., Awaitable[None]]


class BadCommand(Exception):
    """A line that is no command, or a command that can't be done; the message has the mend."""


@dataclass(frozen=True)
class Command:
    """One command. `run` gets the shell, and the parameters by name."""

    name: str
    click_command: click.Command
    run: Run
    raw: bool = False
    """True for one that takes what is typed for itself: ^C does not end it."""

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return self.click_command.get_short_help_str(limit=68)

    @property
    def help(self) -> str:
        """How to use it."""
        return self.click_command.get_help(self._context([], resilient=True))

    def prepare(self, words: Sequence[str], shell: Shell) -> Awaitable[None]:
        """Return what the command does with these words. Errors: BadCommand."""
        try:
            context = self._context(list(words), resilient=False)
        except click.UsageError as error:
            raise BadCommand(f"{error.format_message()} Try: help {self.name}") from error
        return self.run(shell, **context.params)

    def _context(self, words: list[str], *, resilient: bool) -> click.Context:
        """Parse words."""
        return self.click_command.make_context(
            self.name, words, resilient_parsing=resilient, max_content_width=78, terminal_width=78
        )


def command(
    *params: click.Parameter, name: str | None = None, raw: bool = False
) -> Callable[[Run], Command]:
    """Make a command of a coroutine function, whose docstring is its help."""

    def make(run: Run) -> Command:
        called = name or run.__name__
        return Command(
            called,
            click.Command(
                called, params=list(params), help=inspect.getdoc(run), add_help_option=False
            ),
            run,
            raw,
        )

    return make


def split(line: str) -> list[str]:
    """Split a line into words, quoted as in a shell. Errors: BadCommand."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise BadCommand(f"{error}: close the quotes, or put \\ before what is none") from error
