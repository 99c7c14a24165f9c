"""The device side of our ring, beside the same in C without a check: CPU time on one CPU."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.suite import builds
from tests.bench.suite.experiment import Experiment, Point, Row
from tests.bench.suite.probe import pinned, probing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.bench.suite.experiment import Setting

ROW = Row(
    "ring",
    "pop, parse, copy 4 KiB of 64 MiB in memory, push; 32 requests at a time",
    "plain C that checks nothing",
    "ns",
    "lower",
    1.2,
    figure="ns",
)


@contextmanager
def beside_c(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start both programs."""
    ours, plain = builds.example("virtmesh-blk", "ring_floor"), builds.floor("ring")
    line = f"{setting.seconds:g}"
    with ExitStack() as stack:
        us, them = (
            stack.enter_context(
                probing(pinned(setting.one, program), setting.folder / f"{program.name}.log")
            )
            for program in (ours, plain)
        )
        yield {
            name: Point(
                partial(us.sample, line, setting.seconds),
                partial(them.sample, line, setting.seconds),
            )
            for name in names
        }


def experiments() -> list[Experiment]:
    """List the experiments."""
    return [Experiment("ring", "one CPU", (ROW,), beside_c)]
