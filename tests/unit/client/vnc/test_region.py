"""A region against a set of pixels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from virtmesh_client.vnc.rects import Rect
from virtmesh_client.vnc.region import CELL, RECTS_MAX, Region

WIDTH, HEIGHT = 70, 50
rects = st.builds(
    Rect, st.integers(0, 80), st.integers(0, 60), st.integers(0, 90), st.integers(0, 70)
)


def pixels_of(rect: Rect) -> set[tuple[int, int]]:
    """Return the pixels of a rectangle that are in the picture."""
    inside = rect.clip(Rect(0, 0, WIDTH, HEIGHT))
    return {(x, y) for x in range(inside.x, inside.right) for y in range(inside.y, inside.bottom)}


@given(st.lists(st.tuples(st.booleans(), rects), max_size=12))
def test_what_was_added_is_taken(steps: list[tuple[bool, Rect]]) -> None:
    """All of it in the area; nothing twice in one go or later, and nothing outside of the area."""
    region, owed = Region(WIDTH, HEIGHT), set[tuple[int, int]]()
    for is_added, rect in steps:
        if is_added:
            region.add(rect)
            owed |= pixels_of(rect)
            continue
        wanted = owed & pixels_of(rect)
        assert region.touches(rect) == bool(wanted)
        taken = [pixels_of(one) for one in region.take(rect)]
        union = set().union(*taken)
        assert len(union) == sum(map(len, taken))
        assert wanted <= union <= pixels_of(rect)
        owed -= union
        assert not region.touches(rect)
    left = region.take(Rect(0, 0, WIDTH, HEIGHT))
    assert owed <= set().union(*map(pixels_of, left))
    assert not region


def test_few_rectangles_for_simple_damage() -> None:
    """What lies together comes as one."""
    region = Region(1280, 800)
    region.add_all()
    assert region.take(Rect(0, 0, 1280, 800)) == [Rect(0, 0, 1280, 800)]
    assert not region.touches(Rect(0, 0, 1280, 800))
    for y in range(100, 200, 10):
        region.add(Rect(320, y, 100, 10))
    assert region.take(region.bounds) == [Rect(320, 96, 112, 112)]


def test_a_chequered_screen() -> None:
    """Beyond a number of rectangles, the one around them all is sent."""
    region = Region(4095, 4095)
    for x in range(0, 1600, 2 * CELL):
        for y in range(0, 1600, 2 * CELL):
            region.add(Rect(x, y, 1, 1))
    assert RECTS_MAX < 50 * 50
    assert region.take(region.bounds) == [Rect(0, 0, 1584, 1584)]
    assert not region
