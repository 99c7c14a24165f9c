"""Requests that pass the page cache by, beside fio on a file."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.suite.disks import Load, driven, image, option, our_disk
from tests.bench.suite.experiment import Experiment, NotMeasured, Point, Row, Sample
from tests.bench.suite.probe import PATIENCE_S, pinned

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from tests.bench.suite.experiment import Setting

GOALS = {1: 0.9, 32: 0.85}
"""By depth."""
ROWS = tuple(
    Row(
        f"direct-{kind}-d{depth}",
        f"4 KiB {kind}s past the page cache, depth {depth}, one CPU",
        "fio, io_uring, direct, on a file beside it",
        "requests/s",
        "higher",
        GOALS[depth],
        figure="rate",
    )
    for depth in GOALS
    for kind in ("read", "write")
)


def load_of(name: str) -> Load:
    """Return the load of a row."""
    _, kind, depth = name.split("-")
    return Load(kind, int(depth[1:]))


def fio(file: Path, cpu: int, load: Load, seconds: float) -> Sample:
    """Measure fio once. Errors: NotMeasured if it can't do that here."""
    command = pinned(
        cpu,
        "fio",
        "--name=bench",
        f"--filename={file}",
        "--direct=1",
        "--ioengine=io_uring",
        f"--rw=rand{load.kind}",
        f"--bs={load.size}",
        f"--iodepth={load.depth}",
        "--thread",
        "--time_based",
        f"--runtime={max(1, round(seconds * 1000))}ms",
        "--output-format=json",
    )
    limit = seconds + PATIENCE_S
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    if done.returncode:
        raise NotMeasured(f"fio: {(done.stderr or done.stdout).strip()[-300:]}")
    (job,) = json.loads(done.stdout[done.stdout.index("{") :])["jobs"]
    return Sample({"rate": float(job[load.kind]["iops"])})


@contextmanager
def beside_fio(setting: Setting, names: Collection[str]) -> Iterator[dict[str, Point]]:
    """Start a disk that passes the page cache by, and its client; make a file for fio."""
    if shutil.which("fio") is None:
        raise NotMeasured("there is no fio (Debian: fio)")
    options = option("cache", "none")
    with ExitStack() as stack:
        disk = stack.enter_context(our_disk(setting, "ours", setting.one, *options))
        client = stack.enter_context(driven(setting, disk, setting.one))
        file = image(setting, "fio")
        yield {
            name: Point(
                partial(client.measure, load_of(name)),
                partial(fio, file, setting.one, load_of(name), setting.seconds),
            )
            for name in names
        }


def experiments() -> list[Experiment]:
    """List the experiments."""
    return [Experiment("4 KiB past the page cache", "one CPU", ROWS, beside_fio)]
