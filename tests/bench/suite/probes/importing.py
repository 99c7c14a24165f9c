"""Imports a file into the first disk of a machine, through its kernel service, and flushes.

Usage: VIRTMESH_RUN_DIR=DIR python -m tests.bench.suite.probes.importing FILE

For each line it imports once; the answer has the bytes per second.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import virtmesh_client
from virtmesh_common.printable import say


def main() -> None:
    """Connect, and import for each line."""
    source = Path(sys.argv[1])
    with virtmesh_client.connect() as machine:
        disk = machine.disk(next(device.name for device in machine.devices()))
        for _ in sys.stdin:
            start = time.perf_counter()
            disk.import_from(source)
            rate = source.stat().st_size / (time.perf_counter() - start)
            say(json.dumps({"bytes_per_s": rate}))


if __name__ == "__main__":
    main()
