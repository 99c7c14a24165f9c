"""A rig for virtmesh_native: guest memory, doorbells and a driver, without any service."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import struct
from dataclasses import dataclass, field

from virtmesh_native import BlkDevice, DriverQueue, GuestMemory, Interrupt, QueueConfig, RingState

from virtmesh_common.errors import RingCorrupt

BASE = 0x8000_0000
SIZE = 4 << 20
QUEUE_SIZE = 16
HEADER = BASE + 0x10000
STATUS = BASE + 0x11000
DATA = BASE + 0x20000

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
FEATURES = 1 << 2 | 1 << 9 | 1 << 13 | 1 << 14
"""SEG_MAX, FLUSH, DISCARD and WRITE_ZEROES (virtio 1.4, 5.2.3)."""

WAIT_SECONDS = 20.0


def make_memfd(size: int = SIZE, *, sealed: bool = True) -> int:
    """Make a file in memory, sealed against shrinking."""
    descriptor = os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


def make_memory() -> GuestMemory:
    """Map one region of SIZE bytes at BASE."""
    descriptor = make_memfd()
    try:
        return GuestMemory([(descriptor, BASE, SIZE, 0)])
    finally:
        os.close(descriptor)


def make_config(  # noqa: PLR0913 - each is one field of it
    *,
    size: int = QUEUE_SIZE,
    descriptor_area: int = BASE,
    driver_area: int = BASE + mmap.PAGESIZE,
    device_area: int = BASE + 2 * mmap.PAGESIZE,
    packed: bool = False,
    state: RingState | None = None,
) -> QueueConfig:
    """Describe a queue. By default its areas are at the start of memory."""
    return QueueConfig(
        size=size,
        descriptor_area=descriptor_area,
        driver_area=driver_area,
        device_area=device_area,
        event_idx=True,
        indirect=False,
        packed=packed,
        state=state,
    )


def make_eventfd(flags: int = os.EFD_NONBLOCK) -> int:
    """Make an eventfd, not signalled."""
    return os.eventfd(0, flags | os.EFD_CLOEXEC)


def is_readable(descriptor: int, seconds: float = 0) -> bool:
    """Wait for a descriptor to be readable."""
    return bool(select.select([descriptor], [], [], seconds)[0])


@dataclass
class NativeRig:
    """A disk with one running queue, and its driver."""

    disk: BlkDevice
    memory: GuestMemory = field(default_factory=make_memory)
    config: QueueConfig = field(default_factory=make_config)
    interrupt: Interrupt = field(default_factory=Interrupt)
    by_eventfd: bool = True
    kick: int = field(default_factory=make_eventfd)
    call: int = field(default_factory=make_eventfd)

    def __post_init__(self) -> None:
        self.queue = DriverQueue(self.memory, self.config)
        self.interrupt.set_call(0, self.call)
        self.disk.activate(FEATURES)
        self.start()

    def start(self) -> None:
        """Start the queue."""
        kick = self.kick if self.by_eventfd else None
        self.disk.start_queue(0, self.memory, self.config, self.interrupt, kick)

    def ask(
        self, kind: int, sector: int = 0, data: bytes = b"", room: int = 0
    ) -> tuple[int, bytes]:
        """Send one request, and wait for its interrupt. Returns its status and the data read.

        Errors: TimeoutError without an interrupt; RingCorrupt if another chain was used.
        """
        self.memory.write(HEADER, struct.pack("<IIQ", kind, 0, sector))
        self.memory.write(STATUS, b"\xff")
        self.memory.write(DATA, data)
        readable = [(HEADER, 16), *([(DATA, len(data))] if data else [])]
        writable = [*([(DATA, room)] if room else []), (STATUS, 1)]
        token = self.queue.add(readable, writable)
        if self.by_eventfd:
            os.eventfd_write(self.kick, 1)
        else:
            self.disk.kick(0)
        while not self.queue.can_pop() and not self.queue.enable_interrupts():
            if not is_readable(self.call, WAIT_SECONDS):
                raise TimeoutError(f"no interrupt came within {WAIT_SECONDS} s")
            os.eventfd_read(self.call)
        used, status = self.queue.pop_used(), self.memory.read(STATUS, 1)[0]
        # The data of a failed request is not written, and the used length says so.
        written = 0 if room and status else room + 1
        if used != [(token, written)]:
            raise RingCorrupt(f"the device used {used} instead of {(token, written)}")
        return status, self.memory.read(DATA, room)

    def close(self) -> None:
        """Stop the disk and close the doorbells."""
        self.disk.close()
        os.close(self.kick)
        os.close(self.call)
