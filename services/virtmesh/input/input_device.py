"""Input devices: what the kernel has from a keyboard, a mouse or a tablet, whatever its driver.

An event is one u64: type << 48 | code << 32 | value, the value as its 32 bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from virtmesh.input.event_log import EventLog
from virtmesh_common.errors import WatcherTooSlow

if TYPE_CHECKING:
    from virtmesh.input.event_log import EventReader


class InputDevice(ABC):
    """A source of input events. A driver adds what it receives to `log`.

    `read_event` and `is_empty` are one reader's view, that of the device itself; `watch` makes
    further readers, and each of them gets every event.
    """

    name: str
    """Name of the device, for people."""

    def __init__(self) -> None:
        self.log = EventLog()
        self._reader = self.log.reader()

    @abstractmethod
    def handle_irq(self, status: int) -> bool:
        """Handle an interrupt: take the events that have come, wake who waits for them.

        `status` is the bits of InterruptStatus; returns False when nothing was to be done.
        """

    @abstractmethod
    async def set_led(self, led: int, *, on: bool) -> None:
        """Turn a light on or off; returns when the device has taken the order.

        `led` is a LED_* code. Errors: BadEvent when the device has no such light; DeviceLost,
        DeviceNeedsReset and RingCorrupt when the device fails.
        """

    async def read_event(self) -> int:
        """Return the next event; wait for it. Each event goes to one caller.

        Errors: WatcherTooSlow once when events were missed, after which it goes on with the next
        that comes; DeviceLost, DeviceNeedsReset and RingCorrupt when the device fails.
        """
        try:
            events, _ = await self._reader.read(limit=1)
        except WatcherTooSlow:
            self._reader = self.log.reader()
            raise
        return events[0]

    def is_empty(self) -> bool:
        """Say whether `read_event` would wait."""
        return self._reader.is_empty()

    def watch(self) -> EventReader:
        """Return a reader of every event that comes from now on."""
        return self.log.reader()
