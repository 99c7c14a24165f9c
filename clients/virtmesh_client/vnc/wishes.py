"""What a viewer understands, by the encodings that it lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.vnc.spec import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 1
"""How much zlib tries, if the viewer does not say: the fastest."""
LEVEL_MAX = 6
"""The most that it tries, whatever the viewer says."""
PIXEL_ENCODINGS = (Encoding.RAW, Encoding.ZRLE, Encoding.TIGHT)


@dataclass(frozen=True)
class Wishes:
    """The best encoding of pixels, and the pseudo-encodings."""

    pixels: Encoding = Encoding.RAW
    extensions: frozenset[int] = frozenset()
    quality: int | None = None
    """Level of JPEG, 0 to 9; None: no JPEG."""
    level: int = LEVEL
    """Level of zlib."""

    def has(self, encoding: Encoding) -> bool:
        """Return whether the viewer listed an encoding."""
        return encoding in self.extensions

    @property
    def resizes(self) -> bool:
        """True if the viewer takes another size."""
        return self.has(Encoding.DESKTOP_SIZE) or self.has(Encoding.EXTENDED_DESKTOP_SIZE)

    @property
    def draws_cursor(self) -> bool:
        """True if the viewer draws the cursor by itself."""
        return self.has(Encoding.CURSOR) or self.has(Encoding.CURSOR_WITH_ALPHA)


def read_wishes(encodings: Sequence[int]) -> Wishes:
    """Return what a list of encodings says. The first of a kind counts."""
    pixels = [Encoding(one) for one in encodings if one in PIXEL_ENCODINGS]
    qualities = [
        one - Encoding.JPEG_QUALITY_0
        for one in encodings
        if Encoding.JPEG_QUALITY_0 <= one <= Encoding.JPEG_QUALITY_9
    ]
    levels = [
        one - Encoding.COMPRESSION_0
        for one in encodings
        if Encoding.COMPRESSION_0 <= one <= Encoding.COMPRESSION_9
    ]
    return Wishes(
        pixels=pixels[0] if pixels else Encoding.RAW,
        extensions=frozenset(encodings),
        quality=qualities[0] if qualities else None,
        level=min(max(levels[0], LEVEL), LEVEL_MAX) if levels else LEVEL,
    )
