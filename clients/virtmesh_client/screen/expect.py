"""Waiting for a picture on a screen. This module needs the extra `vision`.

Each picture that is newer than the last one is searched: only what has changed, and never a picture
that there is a newer one of. After each search it rests for as long as that took, so that a busy
screen takes half of a processor at most.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.screen.evidence import save_evidence
from virtmesh_client.screen.latest import deadline_of_first, explain_silence
from virtmesh_client.screen.models import Match
from virtmesh_client.screen.search import places_for, search, to_array
from virtmesh_common.gpu.errors import ScreenError, ScreenTimeout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from virtmesh_client.screen.latest import LatestPicture, Seen
    from virtmesh_client.screen.models import Rectangle
    from virtmesh_client.screen.needle import Needle, Pixel
    from virtmesh_client.screen.search import Place

PIXELS_MAX = 4096 * 4096
"""Largest picture that is searched: larger than any mode. Each pixel takes some 40 bytes."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for."""

    name: str
    """Name of the GPU, for people."""
    scanout: int
    needles: Sequence[Needle]
    tolerance: float
    region: Rectangle | None
    timeout: float | None
    save_to: Path | None


def wait_for(wanted: Wanted, latest: LatestPicture) -> Match:
    """Search picture after picture until a needle is found.

    Errors: ScreenTimeout; what ends the stream.
    """
    begin = time.monotonic()
    deadline = None if wanted.timeout is None else begin + wanted.timeout
    last: Seen | None = None
    seen = latest.take(0, deadline_of_first(deadline))
    while seen is not None:
        last = seen
        before = time.monotonic()
        match = find(wanted, seen, seen.changed)
        if match is not None:
            return match
        now = time.monotonic()
        if deadline is not None and before >= deadline:
            break  # The newest picture of the time that there was has been searched.
        latest.pause(now - before, deadline)
        seen = latest.take(seen.version, deadline)
    raise explain(wanted, last)


def find(wanted: Wanted, seen: Seen, changed: Rectangle) -> Match | None:
    """Return the best match in what has changed, if one is good enough."""
    if not 0 < seen.pixels.width * seen.pixels.height <= PIXELS_MAX:
        return None
    screen = to_array(seen.pixels)
    found = best_of(wanted, seen, screen, changed)
    if found is None or 1 - found[1].score > wanted.tolerance:
        return None
    index, place = found
    width, height = wanted.needles[index].size
    return Match(
        x=place.x,
        y=place.y,
        width=width,
        height=height,
        score=place.score,
        needle=index,
        name=wanted.needles[index].name,
        scanout=wanted.scanout,
        picture=seen.pixels,
    )


def best_of(
    wanted: Wanted, seen: Seen, screen: Pixel, changed: Rectangle
) -> tuple[int, Place] | None:
    """Return the needle that fits best, and where; None if none has room."""
    whole = (0, 0, seen.pixels.width, seen.pixels.height)
    region = wanted.region or whole
    if region[0] + region[2] > whole[2] or region[1] + region[3] > whole[3]:
        return None
    found: list[tuple[int, Place]] = []
    for index, needle in enumerate(wanted.needles):
        places = places_for(needle, region, changed)
        if places is not None:
            found.append((index, search(screen, needle, places)))
    return max(found, key=lambda one: one[1].score, default=None)


def explain(wanted: Wanted, last: Seen | None) -> ScreenError:
    """Return the error about needles that were not found, with files of what was seen."""
    names = " or ".join(one.name for one in wanted.needles)
    text = f"{wanted.name} did not show {names} within {wanted.timeout:g} s"
    if last is None:
        return ScreenTimeout(f"{text}: {explain_silence(wanted.timeout)}")
    if not last.pixels.width:
        return ScreenTimeout(f"{text}: it showed nothing")
    picture = last.pixels
    if picture.width * picture.height > PIXELS_MAX:
        return ScreenTimeout(f"{text}: {picture.width}x{picture.height} pixels are too many")
    screen = to_array(picture)
    best = best_of(wanted, last, screen, (0, 0, picture.width, picture.height))
    if best is None:
        index, place = 0, None
        text += f"; {spell_no_room(wanted, picture.width, picture.height)}"
        facts: dict[str, object] = {}
    else:
        index, place = best
        text += (
            f"; the nearest is {wanted.needles[index].name} at {place.x},{place.y} with a score of"
            f" {place.score:.4f}, where {1 - wanted.tolerance:.4f} is wanted"
        )
        facts = {"score": f"{place.score:.6f}", "x": place.x, "y": place.y}
    try:
        files = save_evidence(wanted.save_to, screen, wanted.needles[index], place)
    except (OSError, ScreenError) as error:
        return ScreenTimeout(f"{text}; what was seen can't be saved: {error}", **facts)
    named = zip(("seen", "nearest", "difference"), files, strict=False)
    facts |= dict(named)
    return ScreenTimeout(f"{text}; see {', '.join(map(str, files))}", **facts)


def spell_no_room(wanted: Wanted, width: int, height: int) -> str:
    """Say why no needle can be on a screen of that size."""
    if wanted.region is not None:
        x, y, columns, rows = wanted.region
        if x + columns > width or y + rows > height:
            region = f"{x},{y},{columns},{rows}"
            return f"the region {region} is outside of the screen of {width}x{height}"
        width, height = columns, rows
    where = "region" if wanted.region is not None else "screen"
    sizes = " and ".join("{}x{}".format(*one.size) for one in wanted.needles)
    return f"a needle of {sizes} has no room in the {where} of {width}x{height}"
