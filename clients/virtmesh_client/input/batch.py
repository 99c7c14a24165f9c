"""The packets that one call sends, and the outcome of each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.input.models import Injected, Outcome
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.input.models import Overflow, Wait

WANTED = {
    "none": Outcome.SENT,
    "accepted": Outcome.ACCEPTED,
    "delivered": Outcome.DELIVERED,
}


@dataclass(eq=False)
class PendingPacket:
    """A packet that was sent to the device, and its outcome so far."""

    batch: PacketBatch
    sequence: int
    events: int
    outcome: Outcome = Outcome.SENT
    device_packet: int = 0

    @property
    def answered(self) -> bool:
        """True when the device has reported any outcome of the packet."""
        return self.outcome is not Outcome.SENT

    @property
    def settled(self) -> bool:
        """True when the packet has reached the outcome that the call waits for, or failed."""
        return self.answered and not Outcome.ACCEPTED <= self.outcome < self.batch.wanted


class PacketBatch:
    """The packets of one call. `cancel` ends the call before its next packet."""

    def __init__(
        self, wait: Wait, overflow: Overflow, timeout: float | None, wake: Callable[[], None]
    ) -> None:
        self.wanted = WANTED[wait]
        self.overflow: Overflow = overflow
        self.timeout = timeout
        self.any_value = False
        """True to send values of axes that are out of range."""
        self.packets: list[PendingPacket] = []
        self.unsettled = 0
        self._wake = wake
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """True after `cancel`."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the call. Any thread may call this."""
        self._cancelled.set()
        self._wake()

    def add(self, sequence: int, events: int) -> PendingPacket:
        """Add a packet that is about to be sent. `events` is its number of events."""
        packet = PendingPacket(self, sequence, events)
        self.packets.append(packet)
        self.unsettled += 1
        return packet

    def pause_until(self, moment: float) -> None:
        """Wait until a time of `time.monotonic`. Errors: VirtmeshError if the call is cancelled."""
        left = moment - time.monotonic()
        if self._cancelled.wait(left) if left > 0 else self.cancelled:
            raise VirtmeshError("the call was cancelled")

    def result(self, waiting: int) -> Injected:
        """Summarize the outcomes. `waiting` is the number of packets in the waiting room."""
        outcomes = [packet.outcome for packet in self.packets]
        return Injected(
            outcome=min(outcomes, default=self.wanted).name.lower(),
            packets=len(self.packets),
            events=sum(packet.events for packet in self.packets),
            first=self.packets[0].sequence if self.packets else 0,
            last=self.packets[-1].sequence if self.packets else 0,
            device_packet=self.packets[-1].device_packet if self.packets else 0,
            waiting=waiting,
            refused=outcomes.count(Outcome.REFUSED),
            lost=outcomes.count(Outcome.LOST),
        )
