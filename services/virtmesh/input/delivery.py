"""Delivery: packets wait in a bounded room, and go to the driver whole and in order.

When is a packet written? Let `held` be the buffers at hand, `room` what the driver is taken to post
at once: the largest size of its queue at first, and once it has shown that it posts fewer, the
most that it held ready. The packet that waits longest is written

- whole, when it is not longer than `held`;
- in parts, as buffers come, when it is longer than `room`: waiting for more would be in vain;
- not yet, when it is longer than `held` but not than `room`: the rest of the buffers is on its way.

The last case ends, whatever the driver does. Each buffer it posts brings `held` nearer to `room`;
when it posts none for as long as `patience` says, `give_up_waiting` makes `held` the new `room`,
and the packet is longer than that. With no buffer at hand nothing can be done: a driver SHOULD keep
the queue populated (5.8.6.1). So there is no state in which the device waits for a driver that
waits for the device.

No packet overtakes another, and none begins before the one in front is written to its end, so that
packets are neither mixed nor reordered, also where they are split. (5.8.6.2 would allow to drop
them.) What the driver has got a part of when it goes away can't be taken back: it is lost, and told
so; every other packet stays for the next driver.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram
from virtmesh_common.api.input.v1.input_pb2 import OUTCOME_DELIVERED, OUTCOME_LOST, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.input.rings import EventRing

EVENTS_PER_PACKET = 16
"""The room holds so many events for each packet that it holds."""
PACKET_EVENTS_MAX = 1024 + 2
"""Events of the longest packet: with SYN_REPORT, and the ABS_MT_SLOT that the ledger adds."""
TAKE_MAX = 1024
"""Chains taken in one look at the queue: the event loop has other things to do."""
FIRST_PATIENCE_S = 0.05
"""How long to wait for buffers that the driver may be about to post for the first time."""
PATIENCE_S = 5.0
"""How long to wait for as many buffers as the driver once posted: it may just be stopped."""


@dataclass(eq=False, slots=True)
class Packet:
    """Events that belong together, as the driver gets them. `report` is told of the end, once."""

    number: int
    events: Sequence[bytes]
    report: Callable[[int, Outcome.ValueType], None] | None = None
    slot_prefix: bytes | None = None
    """An event that says what the packet takes as said before: the slot of its touches."""
    written: int = 0
    """Events that the driver has got."""
    accepted: float = field(default_factory=monotonic)
    """When it was made, in seconds of the monotonic clock."""


class Delivery:
    """The waiting room, and the event queue of the driver that is there."""

    def __init__(self, packets_max: int) -> None:
        self._packets_max = packets_max
        self._events_max = max(packets_max * EVENTS_PER_PACKET, PACKET_EVENTS_MAX)
        self._waiting: deque[Packet] = deque()
        self._events_waiting = 0
        self._ring: EventRing | None = None
        self._room = 0
        self._most = 0
        self._malformed_before = 0
        self.delivered = 0
        """Packets delivered whole."""
        self.lost = 0
        """Packets that a driver took a part of with it."""
        self.split = 0
        """Packets delivered in parts."""
        self.durations = Histogram(LATENCY_BOUNDS)
        """Seconds from accepting to delivering a packet whole."""
        self.events_delivered = 0
        self.events_added = 0
        """Premises that were put in front of packets, for drivers that did not get them before."""

    @property
    def waiting(self) -> int:
        """Packets that are not delivered whole."""
        return len(self._waiting)

    @property
    def events_waiting(self) -> int:
        """Events of those packets, with those that are delivered already."""
        return self._events_waiting

    @property
    def malformed(self) -> int:
        """Chains of the event queue that were given back unused."""
        return self._malformed_before + (self._ring.malformed if self._ring else 0)

    def fits(self, events: int) -> bool:
        """Say whether a packet of so many events finds room."""
        return (
            len(self._waiting) < self._packets_max
            and self._events_waiting + events <= self._events_max
        )

    def put(self, packet: Packet) -> None:
        """Add a packet. Its place in the order is fixed now, also where it doesn't fit."""
        self._waiting.append(packet)
        self._events_waiting += len(packet.events)

    def start(self, ring: EventRing, size_max: int) -> None:
        """Deliver to a driver whose queue has at most so many entries."""
        self._ring = ring
        self._room, self._most = size_max, 0

    def stop(self) -> None:
        """Forget the driver; a packet that it has a part of is lost."""
        self._malformed_before = self.malformed
        self._ring = None
        if self._waiting and self._waiting[0].written:
            self.lost += 1
            self._end(OUTCOME_LOST)
        if self._waiting:
            self._say_premise(self._waiting[0])

    def flush(self) -> bool:
        """Write what can be written now; True when there is more to take, in another call.

        Errors: RingCorrupt.
        """
        ring = self._ring
        budget = TAKE_MAX
        while ring:
            taken = ring.take(budget)
            budget -= taken
            self._most = max(self._most, ring.held)
            self._room = max(self._room, ring.held)
            while self._waiting and self._write(ring, self._waiting[0]):
                pass
            if budget == 0:
                return True
            if not self._waiting:
                # Buffers can wait in the ring until there is an event for them.
                ring.let_me_sleep()
                return False
            if not ring.wake_me():
                return False
        return False

    def needs_interrupt(self) -> bool:
        """Say whether the driver wants an interrupt for what it got since the last call."""
        return self._ring is not None and self._ring.needs_interrupt()

    @property
    def patience(self) -> float | None:
        """Seconds to wait for another buffer until `give_up_waiting`; None when nothing waits."""
        if self._ring is None or not self._waiting or not self._ring.held:
            return None
        return PATIENCE_S if len(self._waiting[0].events) <= self._most else FIRST_PATIENCE_S

    @property
    def progress(self) -> tuple[int, int]:
        """Something that changes when a buffer comes or a packet goes."""
        return self.delivered + self.lost, self._ring.held if self._ring else 0

    def give_up_waiting(self) -> None:
        """Take the buffers at hand for all that the driver posts at once."""
        if self._ring is not None:
            self._room = self._most = self._ring.held

    def _write(self, ring: EventRing, packet: Packet) -> bool:
        """Write a packet as far as that is possible; True when it is written to its end."""
        total = len(packet.events)
        left = total - packet.written
        if left > ring.held:
            if not ring.held or (not packet.written and total <= self._room):
                return False
            self.split += not packet.written
            left = ring.held
        ring.write(packet.events[packet.written : packet.written + left])
        packet.written += left
        self.events_delivered += left
        if packet.written < total:
            return False
        self.delivered += 1
        self.durations.observe(monotonic() - packet.accepted)
        self._end(OUTCOME_DELIVERED)
        return True

    def _say_premise(self, packet: Packet) -> None:
        """Have a packet say what the driver that is gone knew; the next one doesn't."""
        if packet.slot_prefix is not None:
            packet.events, packet.slot_prefix = [packet.slot_prefix, *packet.events], None
            self._events_waiting += 1
            self.events_added += 1

    def _end(self, outcome: Outcome.ValueType) -> None:
        """Take the first packet out of the room, and say what became of it."""
        packet = self._waiting.popleft()
        self._events_waiting -= len(packet.events)
        if packet.report is not None:
            packet.report(packet.number, outcome)
