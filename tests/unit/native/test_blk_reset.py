"""A queue that is abandoned for a reset, while its storage does not answer."""

from __future__ import annotations

import gc
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from virtmesh_native import BlkDevice, GuestMemory

from tests.support.native_rig import (
    BASE,
    DATA,
    FLUSH,
    HEADER,
    IN,
    OUT,
    SIZE,
    STATUS,
    WAIT_SECONDS,
    NativeRig,
    make_memory,
)
from tests.support.storage_gate import gated

LARGE = 128 << 10
"""More than a queue executes at once, on its own thread."""
PIECE = 4 << 20
"""What is moved between two looks at whether the queue was abandoned."""
BOUND = 10.0
"""In which a reset ends on a loaded host, in seconds. Who waits for the storage waits for the test,
longer."""


class SlowDisk:
    """A disk behind a gate, with one thread, and its driver."""

    def __init__(self, image: Path) -> None:
        self.disk, self.gate = gated(
            lambda: BlkDevice(str(image), threads=1), "fdatasync", "preadv2", "pwritev2"
        )
        self.rig = NativeRig(self.disk)

    def send(
        self, kind: int, sector: int = 0, *, out: int = 0, room: int = 0, times: int = 1
    ) -> None:
        """Send a request, without waiting for its answer. It has its room `times` over."""
        self.rig.memory.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
        readable = [(HEADER, 16), *([(DATA, out)] if out else [])]
        writable = [*([(DATA, room)] * times if room else []), (STATUS, 1)]
        assert self.rig.queue.add(readable, writable) is not None
        self.disk.kick(0)

    def abandon(self) -> float:
        """Abandon the queue; return how long it took to stop, in seconds."""
        begun = time.monotonic()
        self.disk.abandon(0)
        assert self.disk.join(0, WAIT_SECONDS)
        return time.monotonic() - begun

    def until_idle(self) -> None:
        """Have another driver read: the one thread of the disk has ended all it did before."""
        self.gate.open()
        other = NativeRig(self.disk)
        assert other.ask(IN, room=LARGE)[0] == 0


def read_all(memory: GuestMemory) -> bytes:
    """Return all of guest memory."""
    return memory.read(BASE, SIZE)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowDisk]:
    """Make a slow disk."""
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(range(256)) * (4 * PIECE // 256))
    slow = SlowDisk(image)
    yield slow
    slow.gate.open()
    slow.rig.close()


@pytest.mark.parametrize("write_back", [True, False])
def test_a_flush_is_not_waited_for_and_touches_nothing(slow: SlowDisk, *, write_back: bool) -> None:
    """That of a FLUSH, and that of a write to a write-through disk."""
    slow.disk.write_back = write_back
    if write_back:
        slow.send(FLUSH)
    else:
        slow.send(OUT, out=LARGE)
        slow.gate.next().let_go()
    flush = slow.gate.next()

    assert slow.abandon() < BOUND
    before, interrupts = read_all(slow.rig.memory), slow.rig.interrupt.sequence
    flush.let_go()
    slow.until_idle()

    assert read_all(slow.rig.memory) == before
    assert slow.rig.interrupt.sequence == interrupts
    assert slow.rig.queue.pop_used() == []


def test_a_flush_under_way_keeps_no_guest_memory(slow: SlowDisk) -> None:
    """A driver that is gone takes its memory with it."""

    def mapped() -> int:
        gc.collect()
        return Path("/proc/self/maps").read_text("ascii").count("memfd:guest")

    slow.send(FLUSH)
    flush = slow.gate.next()
    before = mapped()
    slow.abandon()
    slow.rig.memory = make_memory()
    del slow.rig.queue
    assert mapped() == before  # One more, and one less.
    flush.let_go()


@pytest.mark.parametrize("kind", [IN, OUT])
def test_a_read_or_write_that_is_stuck_is_waited_for_and_named(slow: SlowDisk, kind: int) -> None:
    """Until then the queue is not stopped, since the storage has addresses of guest memory."""
    sizes = {"room": LARGE} if kind == IN else {"out": LARGE}
    slow.send(kind, 8, **sizes)
    held = slow.gate.next()
    slow.disk.abandon(0)
    assert not slow.disk.join(0, 0.01)
    assert not slow.disk.is_stopped(0)
    oldest = slow.disk.oldest(0)
    assert oldest is not None
    assert oldest[:2] == ("IN" if kind == IN else "OUT", 8)
    assert 0 < oldest[2] < WAIT_SECONDS
    held.let_go()
    assert slow.disk.join(0, WAIT_SECONDS)
    assert slow.disk.oldest(0) is None


def test_what_was_not_begun_is_dropped(slow: SlowDisk) -> None:
    """A flush occupies the thread; requests behind it are never executed."""
    slow.send(FLUSH)
    flush = slow.gate.next()
    for _ in range(2):
        slow.send(IN, room=LARGE)
        slow.send(OUT, out=LARGE)
    assert slow.abandon() < BOUND
    flush.let_go()
    slow.until_idle()
    ok = {kind: counters[0] for kind, counters in slow.disk.stats().items()}
    assert (ok["IN"], ok["OUT"], ok["FLUSH"]) == (1, 0, 0)  # The read is that of `until_idle`.


def test_a_long_transfer_ends_at_its_next_piece(slow: SlowDisk) -> None:
    """A driver can ask for gigabytes with few descriptors: the next one does not wait for them."""
    slow.send(IN, room=PIECE // 4, times=12)
    slow.gate.next().let_go()
    piece = slow.gate.next()
    slow.disk.abandon(0)
    piece.let_go()
    assert slow.disk.join(0, WAIT_SECONDS)
    assert slow.gate.held.empty()
    assert slow.rig.queue.pop_used() == []


def test_a_stop_without_a_reset_completes_everything(slow: SlowDisk) -> None:
    """As vhost-user needs it: the ring goes on from its base, and no request is lost."""
    slow.send(FLUSH)
    flush = slow.gate.next()
    slow.disk.request_stop(0)
    assert not slow.disk.join(0, 0.01)
    flush.let_go()
    assert slow.disk.join(0, WAIT_SECONDS)
    assert [written for _, written in slow.rig.queue.pop_used()] == [1]


def test_closing_does_not_wait_for_a_flush(slow: SlowDisk) -> None:
    """A service that ends has a bound for it."""
    slow.send(FLUSH)
    flush = slow.gate.next()
    begun = time.monotonic()
    slow.disk.close()
    assert time.monotonic() - begun < BOUND
    flush.let_go()
