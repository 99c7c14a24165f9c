"""The output of a failed command: one line, which says what to do, and the exit status."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass, field, replace

import click

from virtmesh_common import errors
from virtmesh_common.blk import errors as blk
from virtmesh_common.input import errors as input_errors

OK = 0
ERROR = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
CLOSED = 141

HINTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.DeviceNotFound, "`virtmesh devices` lists the devices"),
    (errors.DeviceNotReady, "`virtmesh devices` shows the state of the device"),
    (errors.DeviceLost, "try again when `virtmesh devices` shows that the device is ready"),
    (
        blk.BlockReadOnly,
        "`virtmesh blk read-only DEVICE off` allows writes, unless it was started read-only",
    ),
    (blk.PastEnd, "`virtmesh blk info` shows the size, `virtmesh blk resize` changes it"),
    (blk.WouldShrink, "--shrink allows it"),
    (blk.Unaligned, "`virtmesh blk info` shows the block size"),
    (input_errors.BadEvent, "`virtmesh input info` shows what the device has"),
    (input_errors.UnknownKey, "`virtmesh input info` lists the keys of the device"),
    (errors.WatcherTooSlow, "watch again, and read faster than the events arrive"),
    (FileExistsError, "--force replaces a file"),
)
UNREACHABLE_HINT = "does the machine run? `virtmesh status` shows it, `virtmesh up` starts one"
UNIX_MODULES = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"})
SYSTEM_MODULES = frozenset({"os", "select", "signal", "socket"})
"""Modules of Python that have less in them on some systems."""
TRACEBACK_VARIABLE = "VIRTMESH_TRACEBACK"


class Interrupted(Exception):
    """The user pressed Ctrl-C. The notes say how far a copy came."""


class ClosedOutput(Exception):
    """The reader of standard output has closed it."""


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
        """The line for people."""
        return f"virtmesh: {self.message}"

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


def explain(error: BaseException) -> Failure:
    """Return the failure for an error: message, notes and hint in one line."""
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "virtmesh"
        return Failure("USAGE", join(error.format_message(), f"see {command} --help"), USAGE)
    if isinstance(error, click.ClickException):
        return Failure("ERROR", join(error.format_message()))
    if isinstance(error, (Interrupted, click.Abort)):
        return Failure("INTERRUPTED", join("interrupted", *notes(error)), INTERRUPTED)
    if isinstance(error, errors.VirtmeshError):
        lost = isinstance(error, errors.ServiceUnavailable)
        message = join(error.message, *notes(error), hint(error))
        return Failure(error.reason, message, UNREACHABLE if lost else ERROR, error.metadata)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
        return Failure("OS_ERROR", join(message, *notes(error), hint(error)))
    return explain_unexpected(error)


def explain_unexpected(error: BaseException) -> Failure:
    """Describe an error that no command means to raise: this system lacks something, or a bug."""
    missing = missing_in_python(error)
    if missing:
        where = f"Python on {sys.platform} does not have"
        return Failure("UNSUPPORTED", f"this needs {missing}, which {where}: run it on Linux")
    if os.environ.get(TRACEBACK_VARIABLE):
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


def hint(error: Exception) -> str:
    """Return what to do about an error; empty if its message says that already."""
    if isinstance(error, errors.ServiceUnavailable):
        return "" if "virtmesh up" in error.message else UNREACHABLE_HINT
    if isinstance(error, blk.BlockReadOnly) and "was started read-only" in error.message:
        return ""
    return next((text for kind, text in HINTS if isinstance(error, kind)), "")


def join(*parts: str) -> str:
    """Join parts into one line."""
    return "; ".join(" ".join(part.split()).rstrip(".") for part in parts if part)
