"""Text in cells: what the monitor sends, and anything else."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virtmesh.kernel.vt.grid import CONTINUED, Grid, get_width

SHOWN = [
    ("one\r\ntwo", ["one", "two", ""], (3, 1)),
    ("a\tb", ["a       b", "", ""], (9, 0)),
    ("abc\b\bX", ["aXc", "", ""], (2, 0)),
    ("abc\rX\a\x00\x7f", ["Xbc", "", ""], (1, 0)),
    ("0123456789", ["0123456789", "", ""], (9, 0)),
    ("0123456789a", ["0123456789", "a", ""], (1, 1)),
    ("0123456789\r\na", ["0123456789", "a", ""], (1, 1)),
    ("0123456789\b \b", ["012345678", "", ""], (9, 0)),
    ("1\r\n2\r\n3\r\n4", ["2", "3", "4"], (1, 2)),
    ("one\r\ntwo\x1b[H\x1b[2Jx", ["x", "", ""], (1, 0)),
    ("one two\x1b[1;4H\x1b[K", ["one", "", ""], (3, 0)),
    ("one two\x1b[1;4H\x1b[1K!", ["   !two", "", ""], (4, 0)),
    ("a\r\nb\r\nc\x1b[2;1H\x1b[J", ["a", "", ""], (0, 1)),
    ("a\r\nb\r\nc\x1b[2;1H\x1b[1J", ["", "", "c"], (0, 1)),
    ("a\x1b[31mb\x1b(Bc\x1b[?25hd", ["abcd", "", ""], (4, 0)),
    ("\x1b[99;99Hx\x1b[0;0Hy", ["y", "", "         x"], (1, 0)),
    ("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", ["gr\u00fcn", "", ""], (4, 0)),
    ("e\N{COMBINING ACUTE ACCENT}x", ["ex", "", ""], (2, 0)),
    ("\u4e2d\u6587", ["\u4e2d\u6587", "", ""], (4, 0)),
    ("\u4e2d\bx", [" x", "", ""], (2, 0)),
    ("\u4e2d\b\bx", ["x", "", ""], (1, 0)),
    ("012345678\u4e2d", ["012345678", "\u4e2d", ""], (2, 1)),
]


@pytest.mark.parametrize(("text", "rows", "cursor"), SHOWN)
def test_what_is_shown(text: str, rows: list[str], cursor: tuple[int, int]) -> None:
    """Each control, wrapping at the end of a row, and characters of two cells or none."""
    grid = Grid(10, 3)
    grid.feed(text)
    assert (grid.text, (grid.x, grid.y)) == (rows, cursor)


@pytest.mark.parametrize(("text", "rows", "cursor"), SHOWN)
def test_text_in_pieces(text: str, rows: list[str], cursor: tuple[int, int]) -> None:
    """It does not matter where it is cut."""
    grid = Grid(10, 3)
    for character in text:
        grid.feed(character)
    assert (grid.text, (grid.x, grid.y)) == (rows, cursor)


@pytest.mark.parametrize(
    ("size", "rows", "cursor"),
    [
        ((10, 5), ["one", "two", "three", "", ""], (5, 2)),
        ((10, 2), ["two", "three"], (5, 1)),
        ((3, 3), ["one", "two", "thr"], (2, 2)),
        ((1, 1), ["t"], (0, 0)),
    ],
)
def test_another_size(size: tuple[int, int], rows: list[str], cursor: tuple[int, int]) -> None:
    """The rows down to the cursor's stay, as many as fit."""
    grid = Grid(10, 3)
    grid.feed("one\r\ntwo\r\nthree")
    grid.resize(*size)
    assert (grid.text, (grid.x, grid.y)) == (rows, cursor)


@given(
    st.lists(
        st.one_of(
            st.text(st.sampled_from("ab \r\n\b\t\x1b[;12HJK?m\u4e2d\u0301\u00fc\x00"), max_size=40),
            st.tuples(st.integers(1, 12), st.integers(1, 6)),
        ),
        max_size=30,
    )
)
@example(["\u4e2d", (1, 3), "\u4e2d", (12, 3)])
def test_anything_leaves_a_grid(steps: list[str | tuple[int, int]]) -> None:
    """Every row has its cells, a cell has one character, and the cursor is inside."""
    grid = Grid(10, 3)
    for step in steps:
        if isinstance(step, str):
            grid.feed(step)
        else:
            grid.resize(*step)
        assert all(len(row) == grid.columns for row in grid.cells)
        assert 0 <= grid.x < grid.columns
        assert 0 <= grid.y < grid.rows
        for row in grid.cells:
            for x, one in enumerate(row):
                assert one == CONTINUED or (len(one) == 1 and one.isprintable())
                wide = one != CONTINUED and get_width(one) == 2 and grid.columns > 1
                assert not wide or row[x + 1] == CONTINUED
