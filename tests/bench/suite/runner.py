"""Runs experiments in rounds: in each, ours and the peer take turns, and who begins changes."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.suite.experiment import Experiment, NotMeasured, Point, Row, Sample, Setting
from tests.bench.suite.figures import Buckets, Quartiles, merged, quartiles, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass
class Outcome:
    """What became of a row."""

    row: Row
    where: str
    ours: list[float] = field(default_factory=list)
    """By round, in the row's unit."""
    peer: list[float] = field(default_factory=list)
    our_latencies: Buckets = field(default_factory=list)
    peer_latencies: Buckets = field(default_factory=list)
    why: str = ""
    """Why it was not measured."""

    @property
    def ratio(self) -> Quartiles | None:
        """The ratio ours / peer, or None if it was not measured."""
        return quartiles(ratios(self.ours, self.peer)) if self.ours and not self.why else None


@dataclass
class Run:
    """What a run has found."""

    outcomes: list[Outcome] = field(default_factory=list)
    interrupted: bool = False


class Runner:
    """Runs what was chosen. `tell` shows progress, line by line."""

    def __init__(self, setting: Setting, rounds: int, tell: Callable[[str], None]) -> None:
        self._setting = setting
        self._rounds = rounds
        self._tell = tell

    def run(self, experiments: Sequence[Experiment], chosen: set[str]) -> Run:
        """Run experiments for the rows that are chosen. Ctrl-C ends it with what there is."""
        run = Run()
        mine = [(one, [row for row in one.rows if row.name in chosen]) for one in experiments]
        mine = [(one, rows) for one, rows in mine if rows]
        for number, (experiment, rows) in enumerate(mine, 1):
            outcomes = [Outcome(row, experiment.where) for row in rows]
            run.outcomes += outcomes
            title = f"[{number}/{len(mine)}] {experiment.name}"
            try:
                self._measure(experiment, outcomes, title)
            except KeyboardInterrupt:
                run.interrupted = True
                break
        if run.interrupted:
            seen = {one.row.name for one in run.outcomes}
            run.outcomes += [
                Outcome(row, experiment.where)
                for experiment, rows in mine
                for row in rows
                if row.name not in seen
            ]
            for one in run.outcomes:
                if not one.ours and not one.why:
                    one.why = "the run was interrupted"
        return run

    def _measure(self, experiment: Experiment, outcomes: list[Outcome], title: str) -> None:
        """Measure the rows of one experiment."""
        self._tell(f"{title}: starting")
        names = list(dict.fromkeys(one.row.at for one in outcomes))
        samples: dict[str, list[tuple[Sample, Sample]]] = {name: [] for name in names}
        why = ""
        try:
            with experiment.open(self._setting, names) as points:
                for turn in range(self._rounds + 1):
                    which = f"round {turn} of {self._rounds}" if turn else "warming up"
                    self._tell(f"{title}: {which}")
                    for name in names:
                        pair = in_turn(points[name], turn)
                        if turn:
                            samples[name].append(pair)
        except NotMeasured as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - one row that breaks must not end the others
            self._tell(traceback.format_exc())
            why = f"it failed: {type(error).__name__}: {error}"
        finally:
            for one in outcomes:
                self._fill(one, samples[one.row.at], why)

    def _fill(self, outcome: Outcome, pairs: list[tuple[Sample, Sample]], why: str) -> None:
        """Put what was found into an outcome. Rounds before an end by Ctrl-C count."""
        figure, scale = outcome.row.figure, outcome.row.scale
        outcome.ours = [ours.figures[figure] * scale for ours, _ in pairs]
        outcome.peer = [peer.figures[figure] * scale for _, peer in pairs]
        outcome.our_latencies = merged(ours.latencies for ours, _ in pairs)
        outcome.peer_latencies = merged(peer.latencies for _, peer in pairs)
        outcome.why = why
        try:
            ratio = outcome.ratio
        except ValueError as error:
            outcome.why, ratio = str(error), None
        if ratio is not None:
            name = outcome.row.name
            self._tell(f"  {name}: {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
        elif outcome.why:
            self._tell(f"  {outcome.row.name}: not measured: {outcome.why}")


def in_turn(point: Point, turn: int) -> tuple[Sample, Sample]:
    """Measure both sides once; in odd rounds the peer begins. Returns ours and the peer's."""
    if turn % 2:
        peer = point.peer()
        return point.ours(), peer
    ours = point.ours()
    return ours, point.peer()
