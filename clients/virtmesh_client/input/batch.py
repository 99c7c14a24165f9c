"""The packets of one call, and what became of each."""

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
class Sent:
    """One packet under way."""

    batch: Batch
    sequence: int
    events: int
    outcome: Outcome = Outcome.SENT
    device_packet: int = 0

    @property
    def answered(self) -> bool:
        """True when the device has said whether it takes the packet."""
        return self.outcome is not Outcome.SENT

    @property
    def settled(self) -> bool:
        """True when nothing more is expected."""
        return self.answered and not Outcome.ACCEPTED <= self.outcome < self.batch.wanted


class Batch:
    """The packets of one call. Cancelling it ends the call before its next packet."""

    def __init__(
        self, wait: Wait, overflow: Overflow, timeout: float | None, wake: Callable[[], None]
    ) -> None:
        self.wanted = WANTED[wait]
        self.overflow: Overflow = overflow
        self.timeout = timeout
        self.packets: list[Sent] = []
        self.unsettled = 0
        self._wake = wake
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """True when the call is to end."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the call, from any thread."""
        self._cancelled.set()
        self._wake()

    def add(self, sequence: int, events: int) -> Sent:
        """Take a packet in that is being sent."""
        packet = Sent(self, sequence, events)
        self.packets.append(packet)
        self.unsettled += 1
        return packet

    def pause_until(self, moment: float) -> None:
        """Wait for a moment of the monotonic clock. Errors: VirtmeshError when cancelled."""
        left = moment - time.monotonic()
        if self._cancelled.wait(left) if left > 0 else self.cancelled:
            raise VirtmeshError("the call was cancelled")

    def result(self, waiting: int) -> Injected:
        """Sum up; `waiting` packets are in the device's waiting room."""
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
