"""Trace events for tests: single events, and all events of a block write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.trace.events import Event, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT = "7b1f9a66-0000-4000-8000-000000000001"
OFFSET_NS = 1_790_000_000_000_000_000


def source(side: str = "device", device: str = "vda", *, boot_id: str = BOOT) -> Source:
    """Make a source of a disk."""
    return Source(
        device=device,
        side=side,
        kind="blk",
        compatible="virtio,mmio",
        virtio_device_id=2,
        realtime_offset_ns=OFFSET_NS,
        boot_id=boot_id,
        run_id=f"{device} {side}",
    )


DRIVER, DEVICE = source("driver"), source("device")


@dataclass
class Tape:
    """Makes the events of a source, one by one. By default they are a microsecond apart."""

    source: Source
    time_ns: int = 1_000_000
    sequence: int = 0

    def __call__(
        self, kind: str, *, at: int | None = None, text: str = "", **numbers: int
    ) -> Event:
        """Make the next event."""
        self.time_ns = self.time_ns + 1000 if at is None else at
        self.sequence += 1
        return Event(self.source, self.sequence - 1, self.time_ns, kind, text=text, **numbers)

    def read(self, offset: int, value: int, width: int = 4) -> Event:
        """Make the read of a register."""
        return self("register_read", detail=width, token=offset, value=value)

    def write(self, offset: int, value: int, width: int = 4) -> Event:
        """Make the write of a register."""
        return self("register_write", detail=width, token=offset, value=value)


def block_write(token: int, begin_ns: int, driver: Tape, device: Tape) -> Iterator[Event]:
    """Yield the events of a write of 4096 bytes to sector 128, in order of time."""
    yield driver("add", at=begin_ns, token=token, value=3, extra=4113)
    yield driver("notify", at=begin_ns + 1000)
    yield device("notify", at=begin_ns + 2000, detail=1)
    yield device("pop", at=begin_ns + 3000, token=token, value=3, extra=4113)
    yield device("request_start", at=begin_ns + 4000, token=token, detail=1, value=128, extra=4096)
    yield device("request_end", at=begin_ns + 5000, token=token, detail=1, value=0)
    yield device("push", at=begin_ns + 6000, token=token, value=1)
    yield device("interrupt", at=begin_ns + 7000, detail=1)
    yield driver("irq", at=begin_ns + 8000, value=1)
    yield driver("pop_used", at=begin_ns + 9000, token=token, value=1)
