"""What it takes to copy an image into a machine and out of it, through real processes.

Usage: python -m tests.bench.disk_copy [--json]

`virtmesh up` starts a machine with one disk. A file of 256 MiB is imported and exported through the
kernel service, by the client library. MiB/s depend on what else runs on the host; the CPU seconds
of all processes together (client, kernel service, device) hardly do. With --json the last line is a
JSON object, for compare.py. Nothing is asserted.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import virtmesh_client

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 256 << 20
UNIT = 1 << 20
BLOCK = os.urandom(UNIT)
VIRTMESH = str(Path(sys.executable).with_name("virtmesh"))


def cpu_seconds(folder: Path) -> float:
    """Return the CPU time of this process, and of those with the folder in their command line."""
    total = time.process_time()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def timed(copy: Callable[[], object], folder: Path) -> tuple[float, float]:
    """Return MiB/s and CPU seconds of copying SIZE bytes."""
    begin, used = time.monotonic(), cpu_seconds(folder)
    copy()
    return SIZE / UNIT / (time.monotonic() - begin), cpu_seconds(folder) - used


def measure(folder: Path) -> dict[str, float]:
    """Start a machine, copy in and out, and stop it."""
    environment = os.environ | {"VIRTMESH_RUN_DIR": str(folder / "run")}
    source, target = folder / "source", folder / "target"
    source.write_bytes(BLOCK * (SIZE // UNIT))
    disk_option = f"{folder / 'disk.img'},size={SIZE}"
    up = [VIRTMESH, "up", "--detach", "--quiet", "--no-serial", "--disk", disk_option]
    subprocess.run(up, env=environment, check=True, stdout=subprocess.DEVNULL)
    try:
        os.environ["VIRTMESH_RUN_DIR"] = environment["VIRTMESH_RUN_DIR"]
        with virtmesh_client.connect() as machine:
            name = next(device.name for device in machine.devices())
            disk = machine.disk(name)
            disk.import_from(source, flush=False)  # makes the blocks of the image
            imported = timed(lambda: disk.import_from(source, flush=False), folder)
            exported = timed(lambda: disk.export_to(target), folder)
    finally:
        subprocess.run(
            [VIRTMESH, "down", "--quiet"], env=environment, check=True, stdout=subprocess.DEVNULL
        )
    return {
        "import MiB/s": imported[0],
        "export MiB/s": exported[0],
        "import CPU s": imported[1],
        "export CPU s": exported[1],
    }


def main() -> None:
    """Measure once, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="virtmesh-copy-") as folder:
        figures = measure(Path(folder))
    if "--json" in sys.argv[1:]:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name}: {value:.2f}\n")


if __name__ == "__main__":
    main()
