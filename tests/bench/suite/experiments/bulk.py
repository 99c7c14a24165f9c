"""Large requests on the page cache, beside copies in memory: all on one CPU."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.suite import builds
from tests.bench.suite.disks import Load, driven, our_disk
from tests.bench.suite.experiment import PER_MIB, Experiment, Point, Row
from tests.bench.suite.probe import pinned, probing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tests.bench.suite.experiment import Setting

SIZES = {"128k": (128 << 10, 16), "1m": (1 << 20, 4)}
"""Bytes and depths."""
PIECE = 128 << 10
"""What the image is written in."""
GOAL = 0.7
ROWS = tuple(
    Row(
        f"{kind}-{size}",
        f"{SIZES[size][0] >> 10} KiB {kind}s in order, depth {SIZES[size][1]}, one CPU",
        "memcpy of as many bytes between buffers as large as the image",
        "MiB/s",
        "higher",
        GOAL,
        figure="bytes_per_s",
        scale=PER_MIB,
    )
    for size in SIZES
    for kind in ("read", "write")
)


def load_of(name: str) -> Load:
    """Return the load of a row."""
    kind, _, size = name.partition("-")
    length, depth = SIZES[size]
    return Load(kind, depth, length, "sequential")


@contextmanager
def beside_copies(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start a disk and its client, and a program that copies."""
    with ExitStack() as stack:
        copying = pinned(setting.one, builds.floor("memcpy"), setting.image_bytes)
        copies = stack.enter_context(probing(copying, setting.folder / "memcpy.log"))
        disk = stack.enter_context(our_disk(setting, "ours", setting.one, piece=PIECE))
        client = stack.enter_context(driven(setting, disk, setting.one))
        yield {
            name: Point(
                partial(client.measure, load_of(name)),
                partial(
                    copies.sample, f"{load_of(name).size} {setting.seconds:g}", setting.seconds
                ),
            )
            for name in names
        }


def experiments() -> list[Experiment]:
    """List the experiments."""
    return [Experiment("large requests", "one CPU", ROWS, beside_copies)]
