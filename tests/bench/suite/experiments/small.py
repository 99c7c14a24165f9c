"""Small requests on the page cache, beside qemu-storage-daemon; and CPU time of a request."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.suite.disks import Load, driven, option, options_of_blk, our_disk, their_disk
from tests.bench.suite.experiment import Experiment, NotMeasured, Point, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from tests.bench.suite.experiment import Setting

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
SHORT_DEPTHS = (1, 4, 32)
"""Depths of `make bench`; all of them are in `make bench-long`."""
POLL_US = 50
ONE, TWO, POLLING = "1cpu", "2cpu", "2cpu-polled"
WORDS = {
    ONE: "one CPU",
    TWO: "client and disk on a CPU each, none polls",
    POLLING: f"client and disk on a CPU each, ours polls for {POLL_US} us at most",
}
VERBS = {"read": "reads", "write": "writes", "mix": "70 % reads, 30 % writes"}
KINDS = {ONE: ("read", "write", "mix"), TWO: ("read", "write"), POLLING: ("read", "write")}
RATES = {
    (ONE, "read", 32): 5.0,
    (ONE, "write", 32): 3.9,
    (ONE, "mix", 32): 4.0,
    (ONE, "read", 1): 3.4,
    (ONE, "write", 1): 3.1,
    (POLLING, "read", 1): 4.8,
    (POLLING, "write", 1): 4.9,
    **{(where, kind, 32): 2.7 for where in (TWO, POLLING) for kind in ("read", "write")},
}
"""Goals of the ratio of rates."""
CPU_GOAL = 0.25
"""Of the ratio of CPU times at depth 32."""


def point(kind: str, depth: int, where: str) -> str:
    """Name a point."""
    return f"{kind}-d{depth}-{where}"


def load_of(name: str) -> Load:
    """Return the load of a point."""
    kind, depth, *_ = name.split("-")
    return Load(kind, int(depth[1:]))


def rows(where: str, depths: tuple[int, ...]) -> tuple[Row, ...]:
    """List the rows of one placement."""
    found = []
    for kind in KINDS[where]:
        for depth in depths:
            name = point(kind, depth, where)
            what = f"4 KiB {VERBS[kind]}, depth {depth}, {WORDS[where]}"
            series = f"{kind}, {WORDS[where]}"
            goal = RATES.get((where, kind, depth))
            found.append(
                Row(
                    name,
                    what,
                    "QSD, page cache",
                    "requests/s",
                    "higher",
                    goal,
                    figure="rate",
                    series=series,
                    depth=depth,
                )
            )
            cpu_goal = CPU_GOAL if depth == 32 else None
            found.append(
                Row(
                    f"cpu-{name}",
                    f"CPU of the disk for each of the {what}",
                    "QSD, page cache",
                    "us",
                    "lower",
                    cpu_goal,
                    point=name,
                    figure="cpu_us",
                    series=series,
                    depth=depth,
                )
            )
    return tuple(found)


@dataclass(frozen=True)
class Disks:
    """Both disks, each with its client."""

    where: str = ONE
    options: Callable[[], Sequence[str]] = tuple
    """Of ours."""
    polls: bool = False
    """Of QSD, as `null` is."""
    null: bool = False

    @contextmanager
    def __call__(self, setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
        """Start them. Errors: NotMeasured."""
        asking, serving = (setting.one, setting.one) if self.where == ONE else setting.two()
        options = self.options()
        with ExitStack() as stack:
            ours = stack.enter_context(our_disk(setting, "ours", serving, *options))
            theirs = stack.enter_context(
                their_disk(setting, "qsd", serving, null=self.null, polls=self.polls)
            )
            us = stack.enter_context(driven(setting, ours, asking))
            them = stack.enter_context(driven(setting, theirs, asking))
            yield {
                name: Point(
                    partial(us.measure, load_of(name)), partial(them.measure, load_of(name))
                )
                for name in names
            }


def polling() -> list[str]:
    """Return the options that make ours poll. Errors: NotMeasured."""
    return option("poll-us", str(POLL_US))


def sleeping() -> list[str]:
    """Return the options that keep ours from polling, if it can poll at all."""
    with suppress(NotMeasured):
        return option("poll-us", "0")
    return []


def without_disk() -> list[str]:
    """Return the options that make ours do nothing with a request. Errors: NotMeasured."""
    if "null" not in options_of_blk():
        raise NotMeasured("virtmesh has no engine that does nothing")
    return option("engine", "null")


def experiments(*, long: bool) -> list[Experiment]:
    """List the experiments."""
    depths = DEPTHS if long else SHORT_DEPTHS
    informing = Row(
        "read-d1-2cpu-qsd-polls",
        f"4 KiB reads, depth 1, {WORDS[POLLING]}",
        "QSD with a thread that polls for up to 32 us",
        "requests/s",
        "higher",
        figure="rate",
    )
    nothing = Row(
        "read-d32-null",
        "4 KiB reads, depth 32, one CPU, an engine that does nothing",
        "QSD's null-co",
        "requests/s",
        "higher",
        1.3,
        figure="rate",
    )
    return [
        Experiment("4 KiB on one CPU", WORDS[ONE], rows(ONE, depths), Disks()),
        Experiment("4 KiB on two CPUs", WORDS[TWO], rows(TWO, depths), Disks(TWO, sleeping)),
        Experiment(
            "4 KiB on two CPUs, ours polls",
            WORDS[POLLING],
            rows(POLLING, (1, 32)),
            Disks(POLLING, polling),
        ),
        Experiment(
            "4 KiB on two CPUs, both poll",
            WORDS[POLLING],
            (informing,),
            Disks(TWO, polling, polls=True),
        ),
        Experiment("no disk", WORDS[ONE], (nothing,), Disks(options=without_disk, null=True)),
    ]
