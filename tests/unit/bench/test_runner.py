"""The runner of the benchmark suite: turns, rows that can't be measured, Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.bench.suite.experiment import (
    Experiment,
    NotMeasured,
    Point,
    Row,
    Sample,
    Setting,
)
from tests.bench.suite.runner import Runner

SETTING = Setting(Path(), Path(), seconds=0.0, image_bytes=0, import_bytes=0, cpus=(0, 1))
ROW = Row("row", "what", "peer", "unit", "higher", 2.0)


def quiet(_: str) -> None:
    """Tell nobody."""


def experiment(
    ours: Callable[[], Sample], peer: Callable[[], Sample], *rows: Row, ended: list[str]
) -> Experiment:
    """Make an experiment with both sides for each point."""

    @contextmanager
    def opened(_: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
        try:
            yield {name: Point(ours, peer) for name in names}
        finally:
            ended.append("ended")

    return Experiment("experiment", "one CPU", rows or (ROW,), opened)


def test_sides_take_turns_and_the_first_round_is_dropped() -> None:
    """Who begins changes from round to round, so that neither gains by its place."""
    order: list[str] = []
    numbers = count()

    def side(name: str) -> Callable[[], Sample]:
        def measure() -> Sample:
            order.append(name)
            return Sample({"value": float(next(numbers) + 1)})

        return measure

    ended: list[str] = []
    mine = experiment(side("ours"), side("peer"), ended=ended)

    run = Runner(SETTING, 2, quiet).run([mine], {"row"})

    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert (run.outcomes[0].ours, run.outcomes[0].peer) == ([4.0, 5.0], [3.0, 6.0])
    assert ended == ["ended"]


def test_a_row_that_cannot_be_measured_says_why_and_the_others_go_on() -> None:
    """What one experiment lacks ends no other one."""

    @contextmanager
    def lacking(_: Setting, __: Collection[str]) -> Iterator[dict[str, Point]]:
        raise NotMeasured("there is no fio")
        yield {}

    def fine() -> Sample:
        return Sample({"value": 3.0})

    other = Row("other", "what", "peer", "unit", "higher")
    run = Runner(SETTING, 1, quiet).run(
        [
            Experiment("lacking", "one CPU", (ROW,), lacking),
            experiment(fine, fine, other, ended=[]),
        ],
        {"row", "other"},
    )

    lacked, measured = run.outcomes
    assert (lacked.why, lacked.ratio) == ("there is no fio", None)
    assert measured.ratio is not None
    assert measured.ratio.median == 1.0


def test_a_side_that_breaks_is_a_row_that_failed() -> None:
    """The error is in the row; what was started has been stopped."""

    def broken() -> Sample:
        raise OSError("no space")

    ended: list[str] = []
    told: list[str] = []
    run = Runner(SETTING, 1, told.append).run([experiment(broken, broken, ended=ended)], {"row"})

    assert run.outcomes[0].why == "it failed: OSError: no space"
    assert ended == ["ended"]
    assert any("Traceback" in line for line in told)


def test_a_peer_without_a_figure_makes_no_ratio() -> None:
    """A rate of 0 is told as what it is."""
    sample = Sample({"value": 0.0})

    run = Runner(SETTING, 1, quiet).run(
        [experiment(lambda: sample, lambda: sample, ended=[])], {"row"}
    )

    assert "no ratio" in run.outcomes[0].why
    assert run.outcomes[0].ratio is None


def test_ctrl_c_keeps_what_was_measured_by_then() -> None:
    """Rounds that were complete count, and all is stopped."""
    left = count()

    def ours() -> Sample:
        if next(left) == 3:
            raise KeyboardInterrupt
        return Sample({"value": 2.0})

    ended: list[str] = []
    later = Row("later", "what", "peer", "unit", "higher")
    first = experiment(ours, lambda: Sample({"value": 1.0}), ended=ended)
    never = experiment(ours, ours, later, ended=ended)

    run = Runner(SETTING, 9, quiet).run([first, never], {"row", "later"})

    assert run.interrupted
    assert run.outcomes[0].ours == [2.0, 2.0]
    assert run.outcomes[0].why == ""
    assert [one.why for one in run.outcomes[1:]] == ["the run was interrupted"]
    assert ended == ["ended"]


def test_only_what_is_chosen_is_measured() -> None:
    """Rows that nobody asked for have no outcome, and their experiments are not set up."""
    ended: list[str] = []
    fine = Sample({"value": 1.0})

    run = Runner(SETTING, 1, quiet).run(
        [experiment(lambda: fine, lambda: fine, ended=ended)], set()
    )

    assert run.outcomes == []
    assert ended == []


@pytest.mark.parametrize(
    ("better", "ratio", "reached"),
    [("higher", 2.0, True), ("higher", 1.9, False), ("lower", 2.0, True), ("lower", 2.1, False)],
)
def test_a_goal_is_reached_from_its_side(better: str, ratio: float, reached: object) -> None:
    """Of rates more is better, of times less."""
    row = Row("row", "what", "peer", "unit", better, 2.0)  # type: ignore[arg-type]

    assert row.reached(ratio) is reached


def test_one_cpu_is_a_reason() -> None:
    """Rows that take two CPUs can't be measured on one."""
    setting = Setting(Path(), Path(), seconds=0.0, image_bytes=0, import_bytes=0, cpus=(3,))

    assert setting.one == 3
    with pytest.raises(NotMeasured, match="two CPUs"):
        setting.two()
