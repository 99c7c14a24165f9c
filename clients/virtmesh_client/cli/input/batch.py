"""`virtmesh input -`: commands from standard input, one a line, over one connection."""

# ruff: noqa: FBT001 - click passes each option as a parameter

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli import errors as fail
from virtmesh_client.cli.input.pool import InjectorPool
from virtmesh_client.cli.settings import Settings, common
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_LIMIT_BYTES = 1 << 20
"""Longest line."""
NAME = "-"
NOT_HERE = ("live",)
"""Commands that read standard input themselves, beside those that are given "-"."""
SLEEP = "sleep"


@click.command(NAME, short_help="Run commands from standard input, one a line.")
@click.option("-k", "--keep-going", is_flag=True, help="Go on after a line that failed.")
@common
@click.pass_context
def batch(context: click.Context, keep_going: bool) -> None:
    """Run commands from standard input, one a line.

    A line is what stands behind `virtmesh input`, such as `key ctrl+alt+delete`. The name of a
    device may stand before it, as in `keyboard type "hello"`; `sleep 0.5` waits. Words are quoted
    as in a shell, and # begins a comment. All lines share one connection: a key that an `event`
    presses stays down until it is released, or until the end.

    A line that fails ends the batch, unless there is --keep-going. With --json each line has an
    outcome of one line.
    """
    settings = context.ensure_object(Settings)
    assert context.parent is not None  # noqa: S101 - it is a command of a group
    group = context.parent.command
    assert isinstance(group, click.Group)  # noqa: S101
    status = fail.OK
    count = failed = 0
    with settings.connect() as machine, InjectorPool(machine) as injectors:
        shared = replace(settings, injectors=injectors)
        runner = Runner(group, shared, context.help_option_names)
        for number, line in lines():
            outcome = runner.run(line)
            if outcome is None:
                continue
            count += 1
            show(settings, number, outcome)
            if outcome.failure is not None:
                failed += 1
                status = outcome.failure.status
                if not keep_going:
                    break
    if failed and keep_going:
        raise click.ClickException(f"{failed} of {count} commands failed")
    context.exit(status)


@dataclass(frozen=True)
class Outcome:
    """What came of a line."""

    output: str
    """What the command printed."""
    failure: fail.Failure | None = None


def lines() -> Iterator[tuple[int, str | ValueError]]:
    """Yield each line of standard input as it arrives, with its number; an error for a bad one."""
    number = 0
    while data := sys.stdin.buffer.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if len(data) > LINE_LIMIT_BYTES:
            while data and not data.endswith(b"\n"):
                data = sys.stdin.buffer.readline(LINE_LIMIT_BYTES)
            yield number, ValueError(f"the line has more than {LINE_LIMIT_BYTES} bytes")
            continue
        try:
            yield number, data.decode()
        except UnicodeDecodeError as error:
            yield number, ValueError(f"byte {error.start + 1} of the line is not UTF-8")


class Runner:
    """Runs lines as commands of a group."""

    def __init__(self, group: click.Group, settings: Settings, help_names: list[str]) -> None:
        self._group = group
        self._settings = settings
        self._help_names = help_names

    def run(self, line: str | ValueError) -> Outcome | None:
        """Run a line; None if there is nothing on it."""
        printed = io.StringIO()
        words: list[str] = []
        try:
            words = split(line)
            if not words:
                return None
            with contextlib.redirect_stdout(printed):
                self._execute(words)
        except click.exceptions.Exit:  # of --help
            pass
        except (ValueError, click.UsageError) as error:
            text = error.format_message() if isinstance(error, click.UsageError) else str(error)
            failure = fail.Failure("USAGE", fail.join(text), fail.USAGE)
            return Outcome(printed.getvalue(), failure)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its line
            return Outcome(printed.getvalue(), fail.explain(error, ["input", *words]))
        return Outcome(printed.getvalue())

    def _execute(self, words: list[str]) -> None:
        """Run a command. Errors: those of the command."""
        if words[0] == SLEEP:
            sleep(words[1:])
            return
        # The options in a line are for this line alone.
        settings = replace(self._settings)
        with self._group.make_context(
            "input", self._normal(words), obj=settings, help_option_names=self._help_names
        ) as context:
            self._group.invoke(context)

    def _normal(self, words: list[str]) -> list[str]:
        """Return the words as the group has them: a device that stands first becomes an option."""
        names = self._group.list_commands(click.Context(self._group))
        used = [word for word in words if word == NAME] or [words[0]] * (words[0] in NOT_HERE)
        if used:
            raise ValueError(f"a batch can't have {used[0]!r}: it reads standard input itself")
        if words[0] not in names and len(words) > 1 and words[1] in names:
            device, command, *rest = words
            return [command, "--device", device, *rest]
        return words


def split(line: str | ValueError) -> list[str]:
    """Return the words of a line, quoted as in a shell. Errors: ValueError."""
    if isinstance(line, ValueError):
        raise line
    return shlex.split(line, comments=True)


def sleep(words: list[str]) -> None:
    """Wait. Errors: ValueError."""
    try:
        (seconds,) = map(float, words)
        time.sleep(seconds)
    except (ValueError, OverflowError):
        raise ValueError("sleep takes one number of seconds, such as sleep 0.5") from None


def show(settings: Settings, number: int, outcome: Outcome) -> None:
    """Print the outcome of a line at once: a program may wait for it."""
    failure = outcome.failure
    if settings.json:
        facts: dict[str, object] = {"line": number, "ok": failure is None}
        if outcome.output:
            facts["result"] = parsed(outcome.output)
        if failure is not None:
            facts["error"] = json.loads(failure.json)["error"]
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        sys.stdout.write(outcome.output)
        if failure is not None:
            message = f"line {number}: {failure.message}"
            say(replace(failure, message=message).line, err=True)
    sys.stdout.flush()


def parsed(output: str) -> object:
    """Return what a command printed: as JSON, or as text where it is none."""
    try:
        return json.loads(output)
    except ValueError:
        return output
