"""Writes that the thread of a queue executes in line, while the storage hangs in one."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from virtmesh_native import BlkDevice

from tests.support.native_rig import (
    DATA,
    HEADER,
    IN,
    OUT,
    STATUS,
    WAIT_SECONDS,
    NativeRig,
    is_readable,
)
from tests.support.storage_gate import HeldCall, gated

SECTORS = 8
BYTES = SECTORS * 512
TIMES = 4
"""Requests of a kind."""


class HangingDisk:
    """A disk whose queue's thread waits at a gate in each `call`; its engine does not."""

    def __init__(self, image: Path, call: str) -> None:
        self.disk = BlkDevice(str(image), threads=1, poll_us=0)
        self.rig = NativeRig(self.disk, by_eventfd=False)
        self.disk.request_stop(0)
        assert self.disk.join(0, WAIT_SECONDS)
        # What is made with a queue looks at files too, so only its thread is behind the gate.
        _, self.gate = gated(self.rig.start, call)
        self.slots = 0

    def send(self, kind: int, sector: int, data: bytes = b"", *, ring: bool = True) -> int:
        """Send a request with header, status and data of its own; return where its data is."""
        place = self.slots
        self.slots += 1
        header, status, buffer = HEADER + 16 * place, STATUS + place, DATA + BYTES * place
        memory = self.rig.memory
        memory.write(header, struct.pack("<IIQ", kind, 0, sector))
        memory.write(buffer, data)
        readable = [(header, 16), *([(buffer, BYTES)] if kind == OUT else [])]
        writable = [*([(buffer, BYTES)] if kind == IN else []), (status, 1)]
        assert self.rig.queue.add(readable, writable) is not None
        if ring:
            self.disk.kick(0)
        return buffer

    def answers(self, count: int) -> list[int]:
        """Wait for so many chains; return the bytes written to each."""
        written: list[int] = []
        while len(written) < count:
            written += [length for _, length in self.rig.queue.pop_used()]
            if len(written) < count and not self.rig.queue.enable_interrupts():
                assert is_readable(self.rig.call, WAIT_SECONDS), written
                os.eventfd_read(self.rig.call)
        return written

    def hang(self) -> HeldCall:
        """Send a write, which hangs in line."""
        self.send(OUT, 0, b"\x11" * BYTES)
        return self.gate.next()


@pytest.fixture(params=["pwritev2", "statx"])
def hanging(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HangingDisk]:
    """Make a disk with an image that is in the page cache.

    A write looks at where the file ends, and storage can hang in that too.
    """
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    hanging = HangingDisk(image, request.param)
    yield hanging
    hanging.gate.open()
    hanging.rig.close()


def test_a_write_that_hangs_keeps_no_request_of_its_queue_waiting(hanging: HangingDisk) -> None:
    """Another thread serves the queue: what comes later is read and written."""
    held = hanging.hang()
    for place in range(TIMES):
        hanging.send(OUT, SECTORS * (1 + place), b"\x22" * BYTES)
    assert hanging.answers(TIMES) == [1] * TIMES
    buffer = hanging.send(IN, SECTORS)
    assert hanging.answers(1) == [BYTES + 1]
    assert hanging.rig.memory.read(buffer, BYTES) == b"\x22" * BYTES
    oldest = hanging.disk.oldest(0)
    assert oldest is not None
    assert oldest[:2] == ("OUT", 0)

    held.let_go()
    assert hanging.answers(1) == [1]
    assert hanging.rig.ask(IN, 0, room=BYTES)[1] == b"\x11" * BYTES


def test_writes_that_came_with_the_one_that_hangs_go_on(hanging: HangingDisk) -> None:
    """They are taken from the ring together, and are not begun when the first one hangs."""
    for place in range(1 + TIMES):
        data = bytes([0x30 + place]) * BYTES
        hanging.send(OUT, SECTORS * place, data, ring=place == TIMES)
    held = hanging.gate.next()
    assert hanging.answers(TIMES) == [1] * TIMES
    held.let_go()
    assert hanging.answers(1) == [1]
    for place in range(1 + TIMES):
        expected = bytes([0x30 + place]) * BYTES
        assert hanging.rig.ask(IN, SECTORS * place, room=BYTES)[1] == expected


def test_a_reset_waits_for_the_write_that_hangs_and_drops_nothing_that_is_executed(
    hanging: HangingDisk,
) -> None:
    """The storage has addresses of guest memory until it answers."""
    held = hanging.hang()
    hanging.disk.abandon(0)
    assert not hanging.disk.join(0, 0.2)
    held.let_go()
    assert hanging.disk.join(0, WAIT_SECONDS)
    assert hanging.disk.oldest(0) is None
    hanging.rig = NativeRig(hanging.disk)
    assert hanging.rig.ask(IN, 0, room=BYTES)[1] == b"\x11" * BYTES


def test_a_stop_completes_a_write_whose_thread_was_relieved(hanging: HangingDisk) -> None:
    """As vhost-user needs it: the ring goes on from its base, and no request is lost."""
    held = hanging.hang()
    hanging.send(IN, SECTORS)
    assert hanging.answers(1) == [BYTES + 1]
    hanging.disk.request_stop(0)
    assert not hanging.disk.join(0, 0.01)
    held.let_go()
    assert hanging.disk.join(0, WAIT_SECONDS)
    assert [written for _, written in hanging.rig.queue.pop_used()] == [1]
    assert hanging.disk.queue_base(0) == 2
