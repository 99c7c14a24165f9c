"""Standard output of a command: an error names it, and its end is no second error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer  # mypy has it; at run time nobody needs it

NAME = "standard output"


class NamedFile(io.FileIO):
    """A file whose errors have its name in them, as those of `open` do."""

    def write(self, data: Buffer, /) -> int:
        """Write. Errors: OSError."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = NAME
            raise


def open_standard_files() -> None:
    """Name standard output, and open what the caller has closed: Python has None for it."""
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open()
    sys.stderr = sys.stderr or null.open("w")
    if sys.stdout is None:
        sys.stdout = null.open("w")
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(NamedFile(sys.stdout.fileno(), "wb", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=bool(sys.stdout.line_buffering),
    )


def drain_output() -> OSError | None:
    """Flush standard output; returns why that can't be done. What can't be written is dropped."""
    try:
        sys.stdout.flush()
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        return error
    return None
