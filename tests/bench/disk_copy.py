"""What it takes to copy an image into a machine and out of it, beside what `cp` takes.

Usage: python -m tests.bench.disk_copy [--json] [--mib N] [--rounds N]

`virtmesh up` starts a machine with one disk. In each round a file is imported and exported through
the kernel service by the client library, in three ways: handed over, handed over without a digest,
and by gRPC streams, as from another host; and `cp --reflink=never` copies it, with an fsync as
imports have a flush and exports an fsync. The order turns around from round to round. A ratio is
the rate of a copy to that of cp in its round; CPU seconds are those of all processes together
(client, kernel service, device), which depend less on what else the host does. With --json the last
line is a JSON object of medians, for compare.py. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

import virtmesh_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client import Disk

UNIT = 1 << 20
BLOCK = os.urandom(UNIT)
VIRTMESH = str(Path(sys.executable).with_name("virtmesh"))
CP = "cp"


@dataclass(frozen=True)
class Took:
    """What one copy took."""

    seconds: float
    cpu_seconds: float


def cpu_seconds(folder: Path) -> float:
    """Return the CPU time of this process, its children, and those that name the folder."""
    own = os.times()
    total = own.user + own.system + own.children_user + own.children_system
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def timed(copy: Callable[[], object], folder: Path) -> Took:
    """Copy, and return what that took."""
    begin, used = time.monotonic(), cpu_seconds(folder)
    copy()
    return Took(time.monotonic() - begin, cpu_seconds(folder) - used)


def copy_by_cp(source: Path, target: Path) -> None:
    """Copy a file, and make the copy durable."""
    subprocess.run([CP, "--reflink=never", source, target], check=True)
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ways(folder: Path, handed: Disk, streamed: Disk) -> dict[str, Callable[[], object]]:
    """Return the copies by their names."""
    source, target = folder / "source", folder / "target"
    found: dict[str, Callable[[], object]] = {CP: partial(copy_by_cp, source, folder / "copy")}
    for name, disk, digest in (
        ("", handed, True),
        (" without digest", handed, False),
        (" by stream", streamed, True),
    ):
        found[f"import{name}"] = partial(disk.import_from, source, digest=digest)
        found[f"export{name}"] = partial(
            disk.export_to, target, overwrite=True, length=source.stat().st_size, digest=digest
        )
    return found


def measure(folder: Path, mib: int, rounds: int) -> dict[str, list[Took]]:
    """Start a machine, copy in and out in turns, and stop it."""
    os.environ["VIRTMESH_RUN_DIR"] = str(folder / "run")
    with (folder / "source").open("wb") as source:
        for _ in range(mib):
            source.write(BLOCK)
    option = f"{folder / 'disk.img'},size={mib}M"
    up = [VIRTMESH, "up", "--detach", "--quiet", "--no-serial", "--disk", option]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    took: dict[str, list[Took]] = defaultdict(list)
    try:
        # Beside a link to the socket nobody takes files.
        (folder / "link").symlink_to(folder / "run" / "kernel.sock")
        with (
            virtmesh_client.connect() as machine,
            virtmesh_client.connect(f"unix:{folder / 'link'}") as elsewhere,
        ):
            name = next(device.name for device in machine.devices())
            copies = ways(folder, machine.disk(name), elsewhere.disk(name))
            copies["import"]()  # makes the blocks of the image
            for number in range(rounds):
                order = list(copies.items())
                for way, copy in reversed(order) if number % 2 else order:
                    took[way].append(timed(copy, folder))
    finally:
        subprocess.run([VIRTMESH, "down", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return took


def figures_of(took: dict[str, list[Took]], mib: int) -> dict[str, float]:
    """Return medians."""
    figures: dict[str, float] = {}
    for way, copies in took.items():
        figures[f"{way} MiB/s"] = median(mib / one.seconds for one in copies)
        figures[f"{way} CPU s"] = median(one.cpu_seconds for one in copies)
    return figures


def describe(took: dict[str, list[Took]]) -> str:
    """Return a table: rates and CPU time to those of cp in the same round, with quartiles."""
    lines = [f"{'':24}{'rate to cp':>12}{'quartiles':>16}{'CPU to cp':>12}"]
    for way, copies in took.items():
        rates = [cp.seconds / one.seconds for cp, one in zip(took[CP], copies, strict=True)]
        cpu = median(
            one.cpu_seconds / max(cp.cpu_seconds, 0.01)
            for cp, one in zip(took[CP], copies, strict=True)
        )
        low, middle, high = quantiles(rates, n=4) if len(rates) > 1 else rates * 3
        lines.append(f"{way:24}{middle:12.2f}{f'{low:.2f} to {high:.2f}':>16}{cpu:12.2f}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="virtmesh-copy-") as folder:
        took = measure(Path(folder), options.mib, options.rounds)
    if options.json:
        sys.stdout.write(json.dumps(figures_of(took, options.mib)) + "\n")
    else:
        sys.stdout.write(describe(took))


if __name__ == "__main__":
    main()
