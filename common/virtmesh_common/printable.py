"""Text that comes from others, made fit for a terminal. What commands print goes by `say`."""

from __future__ import annotations

import sys

KEPT = frozenset("\n\t")
"""What text of several lines keeps."""


def printable(text: str) -> str:
    """Return the text with `?` for each character that is no printable one, such as ESC or CR.

    So what a device or a client says can't move the cursor of whoever reads it.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in text)


def printable_lines(text: str) -> str:
    """Do the same with text of several lines: the ends of lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in KEPT else "?" for one in text)


def say(text: object = "", *, err: bool = False, end: str = "\n") -> None:
    """Print text and the end of a line, for people or for programs. Errors: OSError."""
    stream = sys.stderr if err else sys.stdout
    stream.write(printable_lines(str(text)) + end)
    stream.flush()
