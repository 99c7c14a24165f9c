"""Input devices as the kernel sees them: a keyboard, mouse or tablet, whatever its driver.

An event is one u64: type << 48 | code << 32 | value, the value as its 32 bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.input.event_log import EventLog
from virtmesh_common.errors import WatcherTooSlow

if TYPE_CHECKING:
    from virtmesh.input.event_log import EventReader


@dataclass(eq=False)
class Lives:
    """What an input device has in common through all lives of its process, for the kernel."""

    log: EventLog = field(default_factory=EventLog)
    replaced: int = 0
    """Times that a process went away by itself and another one came."""
    resumed: int = 0
    """Packets that the next process was given, since the last one had not delivered them."""
    lost: int = 0
    """Packets that may have been lost with a process, and that their senders were told of."""

    def __post_init__(self) -> None:
        self.reader = self.log.reader()


class InputDevice(ABC):
    """A source of input events. A driver adds the events that it receives to `log`.

    `read_event` and `is_empty` share one reader. `watch` makes more readers, and each of them gets
    every event.
    """

    name: str
    """Name of the device, for people."""

    def __init__(self) -> None:
        self.lives = Lives()

    @property
    def log(self) -> EventLog:
        """The events that have come."""
        return self.lives.log

    @abstractmethod
    def handle_irq(self, status: int) -> bool:
        """Handle an interrupt: take the events that have come, and wake their readers.

        `status` has the bits of InterruptStatus. Returns False when there was nothing to do.
        """

    @abstractmethod
    async def set_led(self, led: int, *, on: bool) -> None:
        """Turn a light on or off; return when the device has taken the order.

        `led` is a LED_* code. Errors: BadEvent when the device has no such light; DeviceLost,
        DeviceNeedsReset and RingCorrupt when the device fails.
        """

    async def read_event(self) -> int:
        """Wait for the next event, and return it. Each event goes to one caller.

        Errors: WatcherTooSlow, once, when events were missed: the next call returns an event that
        came after them; DeviceLost, DeviceNeedsReset and RingCorrupt when the device fails.
        """
        try:
            events, _ = await self.lives.reader.read(limit=1)
        except WatcherTooSlow:
            self.lives.reader = self.log.reader()
            raise
        return events[0]

    def is_empty(self) -> bool:
        """Say whether `read_event` would wait."""
        return self.lives.reader.is_empty()

    def watch(self) -> EventReader:
        """Return a reader of the events that come from now on."""
        return self.log.reader()
