"""The entry point: parse, run, and say in one line what went wrong."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh_client.cli import errors as fail
from virtmesh_client.cli.added import INSTALL_AGAIN, AddedCommands, client_has_entry_points
from virtmesh_client.cli.settings import Settings, common
from virtmesh_common import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


COMMANDS = {
    "completion": "machine",
    "devices": "machine",
    "down": "local",
    "guest": "guest.commands",
    "registers": "registers",
    "status": "local",
    "top": "top.commands",
    "trace": "trace.commands",
}
"""The modules of virtmesh_client.cli that have the commands about no one kind of device: only what
is called is imported. Commands about a kind are added by entry points, whoever made the kind."""


class Root(AddedCommands):
    """The root command: it keeps Ctrl-C and closed pipes from click, which would flatten them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"virtmesh_client.cli.{COMMANDS[cmd_name]}")
            command: click.Command = getattr(module, cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called. Errors: UsageError."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if client_has_entry_points():
                raise
            raise click.UsageError(f"{error.format_message()} {INSTALL_AGAIN}", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt as error:
            interrupted = fail.Interrupted()
            for note in fail.notes(error):
                interrupted.add_note(note)
            raise interrupted from None
        except BrokenPipeError:
            raise fail.ClosedOutput from None
        return result


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 error, 2 wrong usage, 3 no service answers, 130 Ctrl-C.",
)
@click.version_option(__version__, "--version", prog_name="virtmesh")
@common
def cli() -> None:
    """Virtual hardware you can script, watch, break and restart."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    settings = Settings()
    try:
        cli.main(list(arguments), prog_name="virtmesh", standalone_mode=False, obj=settings)
    except fail.ClosedOutput:
        # Python flushes standard output once more at its end; nobody reads it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail.CLOSED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)  # The help of a group that needs a command.
        return fail.USAGE
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes one line
        failure = fail.explain(error)
        if settings.verbose:
            failure = failure.of_request(settings.request_id)
        # When the command line could not be parsed, the option was perhaps not reached.
        wants_json = settings.json or "--json" in arguments
        click.echo(failure.json if wants_json else failure.line, err=True)
        return failure.status
    return fail.OK


def interrupt(_number: int, _frame: object) -> None:
    """Treat a signal as Ctrl-C."""
    raise KeyboardInterrupt


def open_closed_files() -> None:
    """Open what the caller has closed: Python has None for it."""
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open()
    sys.stdout = sys.stdout or null.open("w")
    sys.stderr = sys.stderr or null.open("w")


def main() -> None:
    """Run the command line of this process."""
    open_closed_files()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # Their default would leave a half copy behind; under nohup the second stays ignored.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interrupt)
    raise SystemExit(run(sys.argv[1:]))
