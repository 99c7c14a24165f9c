"""Storage that hangs in some requests: the rest of the disk goes on, and a reset is bounded."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from tests.support.hanging_fuse import content, hanging_fuse
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli
    from tests.support.hanging_fuse import HangingFuse
    from virtmesh_client import Machine

pytestmark = pytest.mark.processes

HANGING = range(512 << 10, 768 << 10)
"""Not the end: it is looked at when the disk starts."""
BLOCK = 4096
STUCK = 6
"""Requests that hang: more than a disk has threads at first."""
RESET_S = 20.0
"""The bound of a reset while a read is stuck is 1 s; a loaded host adds to it. Who waits for the
storage waits longer: until the end of the test."""


@pytest.fixture
def rig(cli: Cli) -> Iterator[tuple[Machine, HangingFuse]]:
    """Run a machine whose disk lies on such storage."""
    with hanging_fuse(cli.folder / "mount", HANGING) as storage:
        cli.up("--no-serial", "--disk", f"{storage.file},read-only,queues=2")
        try:
            with virtmesh_client.connect(cli.state.address) as machine:
                yield machine, storage
        finally:
            storage.let_go()
            cli("down")


def test_sectors_that_answer_are_read_while_others_hang(rig: tuple[Machine, HangingFuse]) -> None:
    """What hangs is right when the storage answers."""
    machine, storage = rig
    disk = machine.disk("vda")
    with ThreadPoolExecutor(STUCK) as pool:
        places = [HANGING.start + number * BLOCK for number in range(STUCK)]
        hanging = [pool.submit(disk.read, place, BLOCK) for place in places]
        try:
            eventually(lambda: storage.waiting == STUCK)
            for number in range(50):
                place = number * BLOCK
                assert disk.read(place, BLOCK, retry_for=0) == content(place, BLOCK)
            assert not any(one.done() for one in hanging)
        finally:
            storage.let_go()
        assert [one.result(timeout=30) for one in hanging] == [
            content(place, BLOCK) for place in places
        ]


def test_a_reset_does_not_wait_for_what_hangs(rig: tuple[Machine, HangingFuse]) -> None:
    """However many threads are stuck. The disk is of use again when they have ended."""
    machine, storage = rig
    disk = machine.disk("vda")
    with ThreadPoolExecutor(STUCK) as pool:
        hanging = [
            pool.submit(disk.read, HANGING.start + number * BLOCK, BLOCK, retry_for=0)
            for number in range(STUCK)
        ]
        eventually(lambda: storage.waiting == STUCK)
        begun = time.monotonic()
        machine.reset("vda")
        assert time.monotonic() - begun < RESET_S
        storage.let_go()
        assert all(isinstance(one.exception(timeout=30), VirtmeshError) for one in hanging)
    eventually(lambda: machine.devices()[0].state == "ready")
    assert disk.read(0, BLOCK) == content(0, BLOCK)
