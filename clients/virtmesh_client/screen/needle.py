"""Needles: the pictures that are looked for on a screen. This module needs the extra `vision`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import cv2
import numpy as np

from virtmesh_common.gpu.errors import BadNeedle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Pixel = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""How a PNG file begins (PNG, 5.2)."""
HEADER = b"IHDR"
HEADER_BYTES = 24
"""Bytes up to the end of width and height of a PNG file (PNG, 11.2.2)."""
FILE_BYTES_MAX = 64 << 20
SIDE_MAX = 4095
"""Largest width and height of a needle, in pixels: those of the largest mode of a screen."""
COLOURS, OPAQUE = 3, 255


class Convertible(Protocol):
    """An image of Pillow."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""

    def convert(self, mode: str) -> Any:
        """Return it in another mode."""


Source: TypeAlias = "str | os.PathLike[str] | bytes | NDArray[Any] | Convertible"
"""A path of a PNG file, the bytes of one, rows of RGB or RGBA (uint8), or an image of Pillow."""


@dataclass(frozen=True)
class Needle:
    """A picture to look for."""

    name: str
    pixels: Pixel
    """Rows of pixels: blue, green, red."""
    mask: Pixel | None
    """1 where a pixel is compared, else 0; None: all are."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def compared(self) -> int:
        """How many pixels are compared."""
        return int(self.mask.sum()) if self.mask is not None else self.pixels.size // COLOURS


def load_needles(
    source: Source | Sequence[Source], mask: Source | None = None
) -> tuple[Needle, ...]:
    """Return one needle, or several of which one is to be found.

    Errors: BadNeedle; OSError for a file that can't be read.
    """
    sources = source if isinstance(source, (list, tuple)) else [cast("Source", source)]
    if not sources:
        raise BadNeedle("there is no needle: give at least one")
    return tuple(load_needle(one, mask, index) for index, one in enumerate(sources))


def load_needle(source: Source, mask: Source | None, index: int = 0) -> Needle:
    """Return a needle. Only pixels that are opaque, and white in the mask, are compared.

    Errors: BadNeedle; OSError for a file that can't be read.
    """
    name = name_of(source, f"needle {index}")
    pixels = read_picture(source, name)
    compared = pixels[:, :, COLOURS] == OPAQUE
    if mask is not None:
        mask_name = f"the mask {name_of(mask, '')}".rstrip()
        chosen = read_picture(mask, mask_name)
        if chosen.shape[:2] != pixels.shape[:2]:
            (height, width), (rows, columns) = pixels.shape[:2], chosen.shape[:2]
            raise BadNeedle(
                f"{mask_name} has {columns}x{rows} pixels, and {name} has {width}x{height}:"
                " draw one of the same size"
            )
        compared &= (chosen[:, :, :COLOURS].max(axis=2) > OPAQUE // 2) & (
            chosen[:, :, COLOURS] == OPAQUE
        )
    if not compared.any():
        raise BadNeedle(f"{name} has no pixel to compare: all are transparent or masked")
    colours = np.ascontiguousarray(pixels[:, :, :COLOURS])
    return Needle(name, colours, None if compared.all() else compared.astype(np.uint8))


def name_of(source: Source, otherwise: str) -> str:
    """Return the name of a file, or what to call a picture that is in none."""
    return Path(source).name if isinstance(source, (str, os.PathLike)) else otherwise


def read_picture(source: Source, name: str) -> Pixel:
    """Return rows of pixels: blue, green, red, alpha. Errors: BadNeedle; OSError."""
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return decode_png(file.read(FILE_BYTES_MAX + 1), name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode_png(bytes(source), name)
    if not isinstance(source, np.ndarray) and not hasattr(source, "convert"):
        raise BadNeedle(
            f"{name} is a {type(source).__name__}: give a path, bytes, an array or an image"
        )
    if not isinstance(source, np.ndarray):
        width, height = source.size
        check_size(width, height, name)
        source = np.asarray(source.convert("RGBA"))
    if source.ndim != COLOURS or source.shape[2] not in {3, 4} or source.dtype != np.uint8:
        raise BadNeedle(
            f"{name} is an array of {source.dtype} of the shape {source.shape}: give rows of RGB"
            " or RGBA, uint8"
        )
    check_size(source.shape[1], source.shape[0], name)
    is_rgb = source.shape[2] == COLOURS
    return convert(source, cv2.COLOR_RGB2BGRA if is_rgb else cv2.COLOR_RGBA2BGRA)


def decode_png(data: bytes, name: str) -> Pixel:
    """Return the pixels of a PNG file. Its size is checked before it is decoded.

    Errors: BadNeedle.
    """
    if not data.startswith(SIGNATURE) or data[12:16] != HEADER or len(data) < HEADER_BYTES:
        raise BadNeedle(f"{name} is not a PNG file")
    if len(data) > FILE_BYTES_MAX:
        raise BadNeedle(f"{name} is larger than {FILE_BYTES_MAX >> 20} MiB")
    check_size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), name)
    found = decode(data)
    if found is None:
        raise BadNeedle(f"{name} is a PNG file that can't be read: it is damaged")
    if found.dtype == np.uint16:
        found = (found // 256).astype(np.uint8)
    channels = found.shape[2] if found.ndim == COLOURS else 1
    if channels == COLOURS + 1:
        return cast("Pixel", found)
    return convert(found, cv2.COLOR_BGR2BGRA if channels == COLOURS else cv2.COLOR_GRAY2BGRA)


def decode(data: bytes) -> NDArray[Any] | None:
    """Return the pixels of a file as they are in it; None for one that is damaged."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # it would print its own message
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        logging.setLogLevel(before)


def convert(pixels: NDArray[Any], code: int) -> Pixel:
    """Return pixels in another order."""
    return cast("Pixel", cv2.cvtColor(pixels, code))


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a picture that no screen can show. Errors: BadNeedle."""
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
        raise BadNeedle(f"{name} has {width}x{height} pixels: each side is 1 to {SIDE_MAX}")
