"""The layout of a virtqueue in guest memory (virtio 1.4, 2.7 and 2.8)."""

from __future__ import annotations

from dataclasses import dataclass

DESCRIPTOR_BYTES = 16
"""struct virtq_desc (2.7.5) and struct pvirtq_desc (2.8.13)."""
EVENT_SUPPRESS_BYTES = 4
"""struct pvirtq_event_suppress (2.8.14)."""
AREA_ALIGNMENT = 64
"""Alignment of each area, in bytes. 2.7 and 2.8 require 16, 2 and 4. With 64, driver and device
never write to the same cache line."""


@dataclass(frozen=True)
class QueueLayout:
    """The areas of one queue: guest addresses; `size` in entries, `length` in bytes overall.

    `indirect_area` holds `size` tables of `indirect_entries` descriptors each, or is None. The
    descriptor area of a `packed` queue is its ring; driver and device area hold event suppressions.
    """

    size: int
    packed: bool
    descriptor_area: int
    driver_area: int
    device_area: int
    indirect_area: int | None
    indirect_entries: int
    length: int

    @classmethod
    def place(
        cls, base: int, size: int, indirect_entries: int = 0, *, packed: bool = False
    ) -> QueueLayout:
        """Lay out a queue from guest address `base` on."""
        driver_bytes = device_bytes = EVENT_SUPPRESS_BYTES
        if not packed:
            driver_bytes = 6 + 2 * size  # flags, idx, ring, used_event (2.7.6)
            device_bytes = 6 + 8 * size  # flags, idx, ring, avail_event (2.7.8)
        driver_area = _align(base + DESCRIPTOR_BYTES * size)
        device_area = _align(driver_area + driver_bytes)
        indirect_area = _align(device_area + device_bytes)
        end = indirect_area + DESCRIPTOR_BYTES * indirect_entries * size
        return cls(
            size=size,
            packed=packed,
            descriptor_area=base,
            driver_area=driver_area,
            device_area=device_area,
            indirect_area=indirect_area if indirect_entries else None,
            indirect_entries=indirect_entries,
            length=end - base,
        )


def _align(address: int) -> int:
    """Round an address up."""
    return address + -address % AREA_ALIGNMENT
