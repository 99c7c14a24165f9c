"""The cursor: drawn into pixels, or as the shape that a viewer draws by itself."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from virtmesh_client.screen.update import CURSOR_SIDE
from virtmesh_client.vnc.rects import Rect, pack_rect
from virtmesh_client.vnc.spec import Encoding

if TYPE_CHECKING:
    from virtmesh_client.screen.update import Cursor
    from virtmesh_client.vnc.pixels import PixelCodec, Pixels

OPAQUE = 128
"""The alpha from which on a pixel is shown, where it is shown or not."""
NOTHING = Rect(0, 0, 0, 0)


def cursor_rect(cursor: Cursor | None) -> Rect:
    """Return where a cursor is; nothing if it is hidden. It may be outside of the picture."""
    if cursor is None or not cursor.visible or not cursor.image:
        return NOTHING
    return Rect(cursor.x, cursor.y, CURSOR_SIDE, CURSOR_SIDE)


def read_image(cursor: Cursor) -> npt.NDArray[np.uint8]:
    """Return the image: rows, columns; blue, green, red, alpha."""
    return np.frombuffer(cursor.image, dtype=np.uint8).reshape(CURSOR_SIDE, CURSOR_SIDE, 4)


def blend(pixels: Pixels, rect: Rect, cursor: Cursor, place: Rect) -> None:
    """Draw the part of a cursor at `place` into the pixels of `rect`."""
    left, top = place.x - cursor.x, place.y - cursor.y
    image = read_image(cursor)[top : top + place.height, left : left + place.width]
    rows = slice(place.y - rect.y, place.bottom - rect.y)
    columns = slice(place.x - rect.x, place.right - rect.x)
    under = np.ascontiguousarray(pixels[rows, columns]).view(np.uint8)
    under = under.reshape(place.height, place.width, 4)
    alpha = image[..., 3:].astype(np.uint16)
    mixed = (image[..., :3] * alpha + under[..., :3] * (255 - alpha) + 127) // 255
    result = under.copy()
    result[..., :3] = mixed
    pixels[rows, columns] = result.view(np.uint32).reshape(place.height, place.width)


def pack_cursor(cursor: Cursor | None, codec: PixelCodec, *, with_alpha: bool) -> bytes:
    """Return the rectangle with the shape of a cursor; one without pixels if there is none."""
    encoding = Encoding.CURSOR_WITH_ALPHA if with_alpha else Encoding.CURSOR
    head = struct.pack(">i", Encoding.RAW) if with_alpha else b""
    if cursor is None or cursor_rect(cursor) == NOTHING:
        return pack_rect(NOTHING, encoding, head)
    place = Rect(cursor.hot_x, cursor.hot_y, CURSOR_SIDE, CURSOR_SIDE)
    image = read_image(cursor)
    if with_alpha:
        alpha = image[..., 3:].astype(np.uint16)
        shape = image[..., [2, 1, 0, 3]].copy()
        shape[..., :3] = (shape[..., :3] * alpha + 127) // 255  # premultiplied, says the registry
        return pack_rect(place, encoding, head + shape.tobytes())
    mask = np.packbits(image[..., 3] >= OPAQUE, axis=1).tobytes()
    pixels = np.frombuffer(cursor.image, dtype="<u4").reshape(CURSOR_SIDE, CURSOR_SIDE)
    return pack_rect(place, encoding, codec.pack(pixels) + mask)
