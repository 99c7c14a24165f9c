"""What a driver makes of the states of the line that it is told."""

from __future__ import annotations

import pytest

from virtmesh.attach.line import LineObserver


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([(0, 0), (1, 1)], [False, True], id="an interrupt"),
        pytest.param([(5, 1)], [True], id="one that was pending before"),
        pytest.param([(5, 0)], [False], id="none is pending"),
        pytest.param([(1, 1), (1, 0)], [True, False], id="a fall"),
        pytest.param([(1, 3), (1, 2)], [True, False], id="a cause was cleared"),
        pytest.param([(1, 1), (1, 3)], [True, True], id="a cause was added"),
        pytest.param([(1, 1), (2, 1)], [True, True], id="fall and rise merged"),
        pytest.param([(1, 1), (2, 0)], [True, True], id="a pulse"),
    ],
)
def test_interrupts_are_told_from_other_changes(
    states: list[tuple[int, int]], expected: list[bool]
) -> None:
    """An interrupt is a new sequence, or a cause that was not pending before."""
    line = LineObserver()
    assert [line.shows_interrupt(*state) for state in states] == expected
