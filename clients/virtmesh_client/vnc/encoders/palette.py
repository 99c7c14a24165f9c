"""The colours of a few thousand pixels, if they are few; and pixels as numbers of colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from virtmesh_client.vnc.pixels import Pixels

Indices = npt.NDArray[np.uint8]
SAMPLES = 4
"""Pixels that are looked at first, for each colour of a palette: most pictures with more colours
show it there."""
FEW = 4
"""Colours that are looked for one by one, which is faster than sorting the pixels."""


def find_palette(pixels: Pixels, most: int) -> Pixels | None:
    """Return the colours of pixels; None if there are more than `most`."""
    flat = pixels.reshape(-1)
    sample = flat[:: max(1, flat.size // (SAMPLES * most))]
    if distinct(sample).size > most:
        return None
    colours: list[int] = []
    left = flat
    while left.size:
        if len(colours) == FEW:
            rest = distinct(left)
            if len(colours) + rest.size > most:
                return None
            return np.concatenate((np.array(colours, dtype=np.uint32), rest))
        if len(colours) == most:
            return None
        colours.append(int(left[0]))
        left = left[left != left[0]]
    return np.array(colours, dtype=np.uint32)


def distinct(pixels: Pixels) -> Pixels:
    """Return the colours of a row of pixels, in order. np.unique takes five times as long."""
    ordered = np.sort(pixels)
    keep = np.ones(ordered.size, dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=keep[1:])
    return ordered[keep]


def to_indices(pixels: Pixels, palette: Pixels) -> Indices:
    """Return the number of the colour of each pixel, 0 to 255. Every colour is in the palette."""
    if palette.size <= FEW:
        found = np.zeros(pixels.shape, dtype=np.uint8)
        for number in range(1, palette.size):
            found[pixels == palette[number]] = number
        return found
    order = np.argsort(palette)
    places = np.searchsorted(palette, pixels, sorter=order)
    return order.astype(np.uint8)[places]


def pack_bits(indices: Indices, bits: int) -> bytes:
    """Pack numbers of 1, 2, 4 or 8 bits, the first in the high bits; rows end at whole bytes."""
    if bits == 1:
        return np.packbits(indices, axis=1).tobytes()
    if bits == 8:
        return indices.tobytes()
    each = 8 // bits
    height, width = indices.shape
    room = np.zeros((height, -(-width // each) * each), dtype=np.uint8)
    room[:, :width] = indices
    packed = room[:, 0::each] << (8 - bits)
    for place in range(1, each):
        packed |= room[:, place::each] << (8 - bits * (place + 1))
    return packed.tobytes()
