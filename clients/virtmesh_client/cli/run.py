"""Running one command line: parse, run, and say in one line what went wrong."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli import errors as fail
from virtmesh_client.cli.output import drain_output
from virtmesh_client.cli.root import cli
from virtmesh_client.cli.settings import Settings
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "virtmesh"
COMPLETION_VARIABLE = "_VIRTMESH_COMPLETE"
"""A shell sets it when it runs the command line for what Tab offers."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status."""
    settings = Settings()
    instruction = os.environ.get(COMPLETION_VARIABLE)
    error: BaseException | None = None
    status = fail.OK
    try:
        if instruction:
            status = complete(settings, instruction)
        else:
            execute(settings, arguments)
    except click.exceptions.Exit as end:
        status = end.exit_code
    except SystemExit as end:  # with the exit status of a guest
        status = end.code if isinstance(end.code, int) else fail.ERROR
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001 - it becomes one line
        error = raised
    return finish(settings, arguments, error, status)


def execute(settings: Settings, arguments: Sequence[str]) -> None:
    """Parse and run. click's own `main` is not used: it flattens Ctrl-C and closed pipes."""
    with cli.make_context(PROGRAM, list(arguments), obj=settings) as context:
        cli.invoke(context)


def complete(settings: Settings, instruction: str) -> int:
    """Print what Tab offers; returns the exit status."""
    from click.shell_completion import shell_complete  # noqa: PLC0415 - few command lines need it

    return shell_complete(cli, {"obj": settings}, PROGRAM, COMPLETION_VARIABLE, instruction)


def finish(
    settings: Settings, arguments: Sequence[str], error: BaseException | None, status: int
) -> int:
    """Flush the output, print the failure, and return the exit status: without one, `status`."""
    broken = drain_output()
    error = error or broken
    if error is None:
        return status
    if isinstance(error, BrokenPipeError):
        return fail.CLOSED
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not settings.json:
        # The help of a group that needs a command has lines; any other failure is one.
        with contextlib.suppress(OSError):
            say(error.format_message(), err=True)
        return fail.USAGE
    failure = fail.explain(error, arguments)
    if settings.verbose:
        failure = failure.of_request(settings.request_id)
    # When the command line could not be parsed, the option was perhaps not reached.
    wants_json = settings.json or "--json" in arguments
    with contextlib.suppress(OSError):  # the exit status says it, if standard error can't
        say(failure.json if wants_json else failure.line, err=True)
    return failure.status
