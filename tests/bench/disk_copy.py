"""How fast a disk image goes into a machine and out of it, through processes as people start them.

Usage: python -m tests.bench.disk_copy [--json]

`virtmesh up` starts a machine with one disk. A file of 256 MiB is imported and exported through the
kernel service, by the client library. With --json the last line is a JSON object of MiB/s, for
compare.py. Nothing is asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import virtmesh_client

SIZE = 256 << 20
UNIT = 1 << 20
BLOCK = os.urandom(UNIT)
VIRTMESH = str(Path(sys.executable).with_name("virtmesh"))


def rate(begin: float) -> float:
    """Return MiB/s for SIZE bytes since `begin`."""
    return SIZE / UNIT / (time.monotonic() - begin)


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
            begin = time.monotonic()
            disk.import_from(source, flush=False)
            imported = rate(begin)
            begin = time.monotonic()
            disk.export_to(target)
            exported = rate(begin)
    finally:
        subprocess.run(
            [VIRTMESH, "down", "--quiet"], env=environment, check=True, stdout=subprocess.DEVNULL
        )
    return {"import MiB/s": imported, "export MiB/s": exported}


def main() -> None:
    """Measure once, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="virtmesh-copy-") as folder:
        figures = measure(Path(folder))
    if "--json" in sys.argv[1:]:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for name, value in figures.items():
            sys.stdout.write(f"{name}: {value:.0f}\n")


if __name__ == "__main__":
    main()
