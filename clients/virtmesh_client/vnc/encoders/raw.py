"""The Raw encoding (RFC 6143, 7.7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.vnc.rects import pack_rect
from virtmesh_client.vnc.spec import Encoding

if TYPE_CHECKING:
    from virtmesh_client.vnc.pixels import PixelCodec, Pixels
    from virtmesh_client.vnc.rects import Rect


class RawEncoder:
    """Sends pixels as they are."""

    def encode(self, rect: Rect, pixels: Pixels, codec: PixelCodec) -> list[bytes]:
        """Return the rectangle."""
        return [pack_rect(rect, Encoding.RAW, codec.pack(pixels))]
