"""What a disk that polls costs a busy neighbour on its CPU."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.suite import builds
from tests.bench.suite.disks import Driven, Load, driven, option, our_disk
from tests.bench.suite.experiment import Experiment, Point, Row, Sample
from tests.bench.suite.probe import Probe, pinned, probing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.bench.suite.experiment import Setting

POLL_US = 50
BUSY = Load("read", 1)
ROWS = (
    Row(
        "neighbour-busy",
        f"work of a neighbour on the disk's CPU, 4 KiB reads at depth 1, --poll-us={POLL_US}",
        "its work beside a disk that does not poll",
        "steps/s",
        "higher",
        figure="work",
    ),
    Row(
        "neighbour-idle",
        f"work of a neighbour on the CPU of an idle disk, --poll-us={POLL_US}",
        "its work beside a disk that does not poll",
        "steps/s",
        "higher",
        figure="work",
    ),
    Row(
        "neighbour-rate",
        f"4 KiB reads at depth 1 of a disk beside a busy neighbour, --poll-us={POLL_US}",
        "the same disk without polling",
        "requests/s",
        "higher",
        point="neighbour-busy",
        figure="rate",
    ),
)


@contextmanager
def beside_neighbour(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start two disks, one that polls and one that does not, and the neighbour."""
    asking, serving = setting.two()
    polls, sleeps = option("poll-us", str(POLL_US)), option("poll-us", "0")
    with ExitStack() as stack:
        command = pinned(serving, builds.floor("spin"))
        neighbour = stack.enter_context(probing(command, setting.folder / "spin.log"))
        sides = []
        for name, options in (("polls", polls), ("sleeps", sleeps)):
            disk = stack.enter_context(our_disk(setting, name, serving, *options))
            client = stack.enter_context(driven(setting, disk, asking))
            sides.append(partial(beside, client, neighbour, setting.seconds))
        ours, peer = sides
        yield {
            name: Point(
                partial(ours, busy=name == "neighbour-busy"),
                partial(peer, busy=name == "neighbour-busy"),
            )
            for name in names
        }


def beside(client: Driven, neighbour: Probe, seconds: float, *, busy: bool) -> Sample:
    """Let the neighbour work, and the disk as well if it is busy; return the figures of both."""
    if not busy:
        return neighbour.sample(f"{seconds:g}", seconds)
    client.begin(BUSY)
    worked = neighbour.sample(f"{seconds:g}", seconds)
    served = client.finish()
    return Sample({**served.figures, **worked.figures})


def experiments() -> list[Experiment]:
    """List the experiments."""
    return [
        Experiment(
            "neighbour", "client on one CPU, disk and neighbour on another", ROWS, beside_neighbour
        )
    ]
