"""Marks in the log of a disk's writes."""

from __future__ import annotations

from virtmesh_common.errors import BadRequest

MARK_BYTES = 255
"""Longest text of a mark, in UTF-8."""
OWN = "virtmesh:"
"""What marks begin with that the device makes itself."""


def check_mark(text: str) -> str:
    """Return the text of a mark if it can be one. Errors: BadRequest."""
    if not 0 < len(text.encode()) <= MARK_BYTES:
        raise BadRequest(f"a mark has 1 to {MARK_BYTES} bytes, this one {len(text.encode())}")
    if not text.isprintable() or text.startswith(OWN):
        raise BadRequest(f"a mark is printable text that does not begin with {OWN!r}")
    return text
