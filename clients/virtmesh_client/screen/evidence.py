"""What is left of a needle that was not found: three pictures. It needs the extra `vision`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from virtmesh_common.gpu.errors import ScreenError

if TYPE_CHECKING:
    from virtmesh_client.screen.needle import Needle, Pixel
    from virtmesh_client.screen.search import Place

GAP = 8
"""Columns between the needle and what was found, in pixels."""
GAP_COLOUR = 128
NAME_CHARACTERS = 60


def save_evidence(
    folder: Path | None, screen: Pixel, needle: Needle, place: Place | None
) -> list[Path]:
    """Save what was seen, the nearest match beside the needle, and the difference of the two.

    Without a folder, in a new one below that for temporary files. Without a place: the first only.
    In the difference, pixels that are not compared are grey. Errors: OSError; ScreenError.
    """
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="virtmesh-expect-"))
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", needle.name.removesuffix(".png")).strip("-")
    stem = stem[:NAME_CHARACTERS] or "needle"
    pictures = {"seen": screen}
    if place is not None:
        width, height = needle.size
        nearest = screen[place.y : place.y + height, place.x : place.x + width]
        gap = np.full((height, GAP, 3), GAP_COLOUR, np.uint8)
        difference = cv2.absdiff(nearest, needle.pixels)
        if needle.mask is not None:
            difference[needle.mask == 0] = GAP_COLOUR
        pictures["nearest"] = np.hstack([needle.pixels, gap, nearest])
        pictures["difference"] = np.asarray(difference, np.uint8)
    return [save(folder / f"{stem}-{name}.png", one) for name, one in pictures.items()]


def save(path: Path, picture: Pixel) -> Path:
    """Write a PNG file. Errors: OSError; ScreenError."""
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise ScreenError(f"{path} can't be encoded")
    path.write_bytes(data.tobytes())
    return path
