"""The output of a failed command: one line, which says what to do, and the exit status."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.signals import Signals
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

OK = 0
ERROR = 1
USAGE = 2
UNREACHABLE = 3
VIOLATIONS = 4
"""`virtmesh report` has found some."""
TIMED_OUT = 5
"""A screen did not show in time what was waited for."""
INTERRUPTED = 130
CLOSED = 141

STATUSES = {"SCREEN_TIMEOUT": TIMED_OUT}
"""Reasons that have an exit status of their own."""
UNIX_MODULES = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"})
SYSTEM_MODULES = frozenset({"os", "select", "signal", "socket"})
"""Modules of Python that have less in them on some systems."""
TRACEBACK_VARIABLE = "VIRTMESH_TRACEBACK"


@dataclass(frozen=True)
class Failure:
    """A failure as it is printed."""

    reason: str
    message: str
    status: int = ERROR
    metadata: dict[str, str] = field(default_factory=dict)

    def of_request(self, request_id: str) -> Failure:
        """Return a copy with the identifier of the request in the logs of the services."""
        return replace(
            self,
            message=f"{self.message}; request {request_id}",
            metadata={**self.metadata, "request_id": request_id},
        )

    @property
    def line(self) -> str:
        """The line for people. What a service or a file says in it can't move the cursor."""
        return printable(f"virtmesh: {self.message}")

    @property
    def json(self) -> str:
        """The object for programs."""
        content = {
            "reason": self.reason,
            "message": self.message,
            "exit_status": self.status,
            "metadata": self.metadata,
        }
        return json.dumps({"error": content})


def explain(error: BaseException, arguments: Sequence[str] = ()) -> Failure:
    """Return the failure for an error of a command line: message, notes and advice in one line."""
    if is_interruption(error):
        return interrupted(error)
    if isinstance(error, click.ClickException):
        return explain_click(error)
    from virtmesh_client.cli.advice import advice_for  # noqa: PLC0415 - it imports gRPC
    from virtmesh_common import errors  # noqa: PLC0415

    if isinstance(error, errors.VirtmeshError):
        lost = isinstance(error, errors.ServiceUnavailable)
        message = join(error.message, *notes(error), advice_for(error, arguments))
        status = UNREACHABLE if lost else STATUSES.get(error.reason, ERROR)
        return Failure(error.reason, message, status, error.metadata)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        return Failure("OS_ERROR", join(message, *notes(error), advice_for(error, arguments)))
    return explain_unexpected(error)


def interrupted(error: BaseException) -> Failure:
    """Describe the end by a signal."""
    return Failure("INTERRUPTED", join("interrupted", *notes(error)), INTERRUPTED)


def explain_click(error: click.ClickException) -> Failure:
    """Describe an error of the command line."""
    if not isinstance(error, click.UsageError):
        return Failure("ERROR", join(error.format_message()))
    command = error.ctx.command_path if error.ctx else "virtmesh"
    message = error.format_message()
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # its message is the whole help
        message = f"{command} needs a command"
    return Failure("USAGE", join(message, f"see {command} --help"), USAGE)


def is_interruption(error: BaseException) -> bool:
    """Say whether an error comes of Ctrl-C: it is that, or was raised while that was handled."""
    if isinstance(error, click.Abort):
        return True
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def explain_unexpected(error: BaseException) -> Failure:
    """Describe an error that no command means to raise: this system lacks something, or a bug."""
    if Signals.have_interrupted:  # Native code makes other errors of it, as gRPC's import does.
        return interrupted(error)
    missing = missing_in_python(error)
    if missing:
        where = f"Python on {sys.platform} does not have"
        return Failure("UNSUPPORTED", f"this needs {missing}, which {where}: run it on Linux")
    if os.environ.get(TRACEBACK_VARIABLE):
        import traceback  # noqa: PLC0415 - few need it

        traceback.print_exception(error)
    return Failure(
        "INTERNAL",
        join(
            f"internal error: {type(error).__name__}: {error}",
            *notes(error),
            f"please report it; with {TRACEBACK_VARIABLE}=1 it prints a traceback",
        ),
    )


def missing_in_python(error: BaseException) -> str:
    """Return what the Python of this system does not have; empty for any other error."""
    if isinstance(error, ModuleNotFoundError) and error.name in UNIX_MODULES:
        return f"the module {error.name}"
    if not isinstance(error, AttributeError):
        return ""
    module = getattr(error.obj, "__name__", "")
    return f"{module}.{error.name}" if module in SYSTEM_MODULES else ""


def notes(error: BaseException) -> list[str]:
    """Return the notes of an error, such as how far a copy came."""
    return list(getattr(error, "__notes__", []))


def join(*parts: str) -> str:
    """Join parts into one line."""
    return "; ".join(" ".join(part.split()).rstrip(".") for part in parts if part)
