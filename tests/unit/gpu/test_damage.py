"""Damage against a set of pixels: nothing that changed is lost, and what is kept is bounded."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from virtmesh.gpu.damage import RECTS_MAX, Damage, Rect

SIDE = 24
EDGES = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))


@st.composite
def rects(draw: st.DrawFn) -> Rect:
    """Make a rectangle in a small picture."""
    x, y = draw(EDGES)
    return Rect(x, y, draw(st.integers(1, SIDE - x)), draw(st.integers(1, SIDE - y)))


def pixels(rect: Rect) -> set[tuple[int, int]]:
    """Return the pixels of a rectangle."""
    return {(x, y) for x in range(rect.x, rect.right) for y in range(rect.y, rect.bottom)}


@given(st.lists(rects(), max_size=60))
def test_no_pixel_is_lost(added: list[Rect]) -> None:
    """The rectangles that come out cover those that went in, inside of the picture."""
    damage = Damage()
    for rect in added:
        damage.add(rect)
    taken = damage.take()

    covered = set().union(*map(pixels, taken))
    assert covered >= set().union(*map(pixels, added))
    assert covered <= pixels(Rect(0, 0, SIDE, SIDE))
    assert all(one.overlap(other) is None for one, other in combinations(taken, 2))
    assert len(taken) <= RECTS_MAX
    assert not damage


@given(st.lists(rects(), min_size=1, max_size=RECTS_MAX))
def test_rectangles_apart_stay_as_they_are(added: list[Rect]) -> None:
    """Nothing is sent that did not change, as long as there are few."""
    apart: list[Rect] = []
    for rect in added:
        if all(rect.overlap(other) is None for other in apart):
            apart.append(rect)
    damage = Damage()
    for rect in apart:
        damage.add(rect)

    assert set(damage.take()) == set(apart)


@given(rects(), rects())
def test_overlap_and_around(one: Rect, other: Rect) -> None:
    """As the sets of pixels have it."""
    common = one.overlap(other)
    assert (pixels(common) if common else set()) == pixels(one) & pixels(other)
    assert pixels(one.around(other)) >= pixels(one) | pixels(other)
