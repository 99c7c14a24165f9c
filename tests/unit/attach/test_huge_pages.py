"""Memory of huge pages, which no seal keeps in place: their driver takes them away.

The attacks run in processes of their own: a page that is gone ends the process that touches it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.handover import add_region, connected
from tests.support.huge_pages import HUGE_PAGE, free_pages, huge_file, huge_pages, punch
from virtmesh.attach.server import HandoverServer
from virtmesh_common.api.memory.v1 import handover_pb2 as pb

pytestmark = pytest.mark.processes


def offer(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer two huge pages."""
    add_region(request, descriptors, huge_file(2), size_bytes=2 * HUGE_PAGE)


async def attack(folder: Path, way: str) -> None:
    """Hand memory over, take a page away, and touch it."""
    server = HandoverServer(folder / "handover", (64,))
    server.listen()
    with connected(server) as driver:
        kept: list[int] = []

        def fill(request: pb.HandoverRequest, descriptors: list[int]) -> None:
            offer(request, descriptors)
            kept.append(os.dup(descriptors[0]))

        handover = server.find((await driver.hand_over(fill)).ticket)
        memory = handover.memory
        assert memory is not None
        memory.write(0, b"first")
        memory.write(HUGE_PAGE, b"second")
        punch(kept[0], 1)
        taken = huge_file(free_pages())
        mapped = mmap.mmap(taken, 0)
        for page in range(0, len(mapped), HUGE_PAGE):
            mapped[page] = 1
        if way == "read":
            assert memory.read(HUGE_PAGE, 6) == bytes(6)
        else:
            memory.write(HUGE_PAGE, b"lost")
        del memory
        await handover.gone  # Its driver is detached.
        mapped.close()
    server.close()


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_page_that_is_gone_costs_its_driver_the_session(tmp_path: Path, way: str) -> None:
    """And not the service its life."""
    with huge_pages(3):
        program = [sys.executable, "-m", "tests.unit.attach.test_huge_pages", str(tmp_path), way]
        done = subprocess.run(
            program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    asyncio.run(attack(Path(sys.argv[1]), sys.argv[2]))
