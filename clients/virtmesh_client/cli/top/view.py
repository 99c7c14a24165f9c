"""What the live view of `virtmesh top` shows: which page, in which order; and the keys for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtmesh_client.top.rates import SORTS, sort_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtmesh_client.top import Row

KEY = re.compile(rb"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
NEXT = {b"\t", b"\x1b[C", b"\x1bOC", b"n"}
BEFORE = {b"\x1b[Z", b"\x1b[D", b"\x1bOD", b"p"}
ALL = {b"\x1b", b"0", b"o"}
"""Keys of the next page, the one before, and that of all devices."""


class View:
    """A page: that of all devices, or of one."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.device = ""
        """Whose page it is; empty: that of all."""
        self.ended = False

    def page(self, rows: Sequence[Row]) -> Row | None:
        """Return the device whose page it is; None for all, and where it is not there any more."""
        return next((row for row in rows if row.name == self.device), None)

    def press(self, data: bytes, rows: Sequence[Row]) -> bool:
        """Take what was typed; True when something else is to be shown."""
        before = self.order, self.device
        for key in read_keys(data):
            self._press(key, sort_rows(rows, self.order))
        return (self.order, self.device) != before

    def _press(self, key: bytes, rows: Sequence[Row]) -> None:
        """Take a key."""
        pages = ["", *(row.name for row in rows)]
        at = pages.index(self.device) if self.device in pages else 0
        if key == b"q":
            self.ended = True
        elif key == b"s":
            orders = list(SORTS)
            self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        elif key in NEXT:
            self.device = pages[(at + 1) % len(pages)]
        elif key in BEFORE:
            self.device = pages[at - 1]
        elif key in ALL:
            self.device = ""
        elif key.isdigit() and int(key) < len(pages):
            self.device = pages[int(key)]


def read_keys(data: bytes) -> Iterator[bytes]:
    """Split what a terminal sends into keys; letters are lower case."""
    for match in KEY.finditer(data):
        key = match.group()
        yield key.lower() if len(key) == 1 else key
