"""The entry point: parse, run, and say in one line what went wrong."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh import __version__
from virtmesh_client.cli import fail
from virtmesh_client.cli.blk import blk
from virtmesh_client.cli.console import console
from virtmesh_client.cli.guest import guest
from virtmesh_client.cli.input import input as input_group
from virtmesh_client.cli.local import down, status, up
from virtmesh_client.cli.machine import completion, devices
from virtmesh_client.cli.serial import serial
from virtmesh_client.cli.settings import Settings, common
from virtmesh_client.cli.top import top
from virtmesh_client.cli.trace import trace

if TYPE_CHECKING:
    from collections.abc import Sequence


class Root(click.Group):
    """The root command: it keeps Ctrl-C and closed pipes from click, which would flatten them."""

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


for command in (
    up,
    down,
    status,
    devices,
    blk,
    input_group,
    console,
    serial,
    trace,
    top,
    guest,
    completion,
):
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    settings = Settings()
    try:
        cli.main(list(arguments), prog_name="virtmesh", standalone_mode=False, obj=settings)
    except fail.ClosedOutput:
        # Python flushes standard output once more at its end; nobody reads it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail.CLOSED
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
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Their default would leave a half copy behind; under nohup the second stays ignored.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interrupt)
    raise SystemExit(run(sys.argv[1:]))
