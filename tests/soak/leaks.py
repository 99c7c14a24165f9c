"""Whether a process leaks, by the samples of one of its lives.

The rule. The first WARM_UP_SECONDS of a life are left out, and a life is judged if samples of
JUDGED_SECONDS are left. Of its second half:

- *memory* (anonymous memory: no file, and not the RAM of the machine) leaks if the slope of Theil
  and Sen, the median of the slopes of all pairs of samples, makes it grow by more than the
  tolerance over that half, and the median of its last third is above that of its first third by
  more than half of it. A few samples that are far off, as those under a burst of work, move
  neither. The tolerance is the largest of MEMORY_KIB, MEMORY_PART of the level, and the spread of
  the samples around that slope (between the quartiles): less growth can't be told from work.
- *descriptors* and *threads* leak by the same rule, over the samples that were taken while all
  clients rested: QUIET_COUNT more of them.

Only the second half counts, since recorders, caches and arenas fill up, and stay full.

At the end each process is also compared with its own first quiet sample after warm-up:
descriptors and threads within LEVEL_COUNT, memory within LEVEL_KIB.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median, quantiles
from typing import TYPE_CHECKING

from tests.soak.plan import DEVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.soak.resources import Sample

WARM_UP_SECONDS = 30.0
JUDGED_SECONDS = 60.0
MEMORY_KIB = 3072
MEMORY_PART = 0.05
QUIET_COUNT = 3
LEVEL_COUNT = {"descriptors": 8, "threads": 16}
"""gRPC begins threads as it needs them, up to a dozen; then they stay."""
LEVEL_KIB = 24 << 10
SAMPLES_MIN = 6
RECORDER_KIB = 2560
"""What a flight recorder comes to hold. A device has one, and the kernel service one for each; they
fill up for many minutes, and a machine file can't make those of the kernel service smaller."""
SAMPLES_MAX = 120
"""More samples are thinned out: pairs grow with their square."""


@dataclass(frozen=True)
class Judgement:
    """What the rule says of one quantity of one life."""

    name: str
    pid: int
    what: str
    """`memory`, `descriptors` or `threads`."""
    seconds: float
    """How long the judged half is."""
    before: float
    """Level of its first third: KiB, or a number."""
    after: float
    """Level of its last third."""
    slope: float
    """Growth in an hour, by Theil and Sen."""
    leaks: bool

    def __str__(self) -> str:
        unit = " KiB" if self.what == "memory" else ""
        return (
            f"{self.what} of {self.name} (process {self.pid}) grew from {self.before:.0f} to"
            f" {self.after:.0f}{unit} in {self.seconds:.0f} s, {self.slope:+.0f}{unit} in an hour"
        )


def recorders(name: str) -> int:
    """Return by how much a process may grow while its flight recorders fill up, in KiB."""
    return RECORDER_KIB * {"kernel": len(DEVICES)}.get(name, int(name in DEVICES))


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope of all pairs of points (x, y); 0 without two different x."""
    slopes = [(d - b) / (c - a) for (a, b), (c, d) in combinations(points, 2) if c != a]
    return median(slopes) if slopes else 0.0


def judge(samples: Sequence[Sample]) -> list[Judgement]:
    """Judge one life by its samples, which are in order; empty if it was too short."""
    if not samples:
        return []
    warm = [one for one in samples if one.at - samples[0].at >= WARM_UP_SECONDS]
    if not warm or warm[-1].at - warm[0].at < JUDGED_SECONDS:
        return []
    middle = (warm[0].at + warm[-1].at) / 2
    half = [one for one in warm if one.at >= middle]
    quiet = [one for one in half if one.quiet]
    level = median(one.anonymous_kib for one in half)
    tolerance = max(MEMORY_KIB, MEMORY_PART * level)
    name, pid = samples[0].name, samples[0].life.pid
    tolerance += recorders(name)
    series = (
        ("memory", [(one.at, float(one.anonymous_kib)) for one in half], tolerance),
        ("descriptors", [(one.at, float(one.descriptors)) for one in quiet], QUIET_COUNT),
        ("threads", [(one.at, float(one.threads)) for one in quiet], QUIET_COUNT),
    )
    return [
        weigh(name, pid, what, points, allowed)
        for what, points, allowed in series
        if len(points) >= SAMPLES_MIN
    ]


def weigh(
    name: str, pid: int, what: str, points: list[tuple[float, float]], allowed: float
) -> Judgement:
    """Weigh one series of (seconds, level)."""
    points = points[:: -(-len(points) // SAMPLES_MAX)]
    third = max(1, len(points) // 3)
    before = median(y for _, y in points[:third])
    after = median(y for _, y in points[-third:])
    seconds = points[-1][0] - points[0][0]
    slope = theil_sen(points)
    first, _, third_quartile = quantiles([y - slope * x for x, y in points], n=4)
    allowed = max(allowed, third_quartile - first)
    leaks = slope * seconds > allowed and after - before > allowed / 2
    return Judgement(name, pid, what, seconds, before, after, slope * 3600, leaks)


@dataclass(frozen=True)
class Level:
    """One process at the end, and after its warm-up. Of both, the sample is a quiet one."""

    first: Sample
    last: Sample

    @property
    def trouble(self) -> list[str]:
        """What is not level, a line each."""
        first, last = self.first, self.last
        found = []
        for what, allowed in LEVEL_COUNT.items():
            before, after = getattr(first, what), getattr(last, what)
            if after - before > allowed:
                found.append(f"{last.name} ends with {after} {what}; {before} after warm-up")
        if last.anonymous_kib - first.anonymous_kib > LEVEL_KIB + recorders(last.name):
            found.append(
                f"{last.name} ends with {last.anonymous_kib} KiB;"
                f" {first.anonymous_kib} KiB after warm-up"
            )
        return found


def level(samples: Sequence[Sample]) -> Level | None:
    """Return the level of a life; None without two quiet samples after its warm-up."""
    warm = [one for one in samples if one.quiet and one.at - samples[0].at >= WARM_UP_SECONDS / 3]
    return Level(warm[0], warm[-1]) if len(warm) > 1 else None
