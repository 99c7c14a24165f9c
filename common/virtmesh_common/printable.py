"""Text that comes from others, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with `?` for each character that is no printable one, such as ESC or CR.

    So what a device or a client says can't move the cursor of whoever reads it.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in text)
