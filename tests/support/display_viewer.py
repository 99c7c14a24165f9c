"""Who watches a screen (virtmesh.display.v1), as a client does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from virtmesh_common.api.display.v1 import display_pb2 as pb


@dataclass
class Viewer:
    """Somebody who watches: keeps the picture up to date by what is sent."""

    call: Any
    width: int = 0
    height: int = 0
    pixels: bytearray = field(default_factory=bytearray)
    cursor: pb.Cursor | None = None
    updates: int = 0
    flushes: int = 0

    async def update(self) -> list[pb.WatchResponse]:
        """Read the pieces of one update."""
        pieces = []
        while True:
            piece = await self.call.read()
            assert isinstance(piece, pb.WatchResponse)
            pieces.append(piece)
            self._take(piece)
            if piece.last:
                self.updates += 1
                assert {one.update for one in pieces} == {self.updates}
                return pieces

    def _take(self, piece: pb.WatchResponse) -> None:
        if piece.is_new:
            self.width, self.height = piece.width, piece.height
            self.pixels = bytearray(self.width * self.height * 4)
        assert (piece.width, piece.height) == (self.width, self.height)
        self.flushes += piece.flushes
        if piece.HasField("cursor"):
            self.cursor = piece.cursor
        for change in piece.changes:
            size = change.width * 4
            assert len(change.pixels) == size * change.height
            for row in range(change.height):
                start = ((change.y + row) * self.width + change.x) * 4
                self.pixels[start : start + size] = change.pixels[row * size :][:size]
