"""What every encoder of pixels does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from virtmesh_client.vnc.pixels import PixelCodec, Pixels
    from virtmesh_client.vnc.rects import Rect


class Encoder(Protocol):
    """Encodes rectangles for one viewer, one after the other: its zlib streams go on."""

    def encode(self, rect: Rect, pixels: Pixels, codec: PixelCodec) -> list[bytes]:
        """Return the rectangles of an update that have these pixels, rows of columns."""
