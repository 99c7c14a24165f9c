"""Injection: each packet, from the stream that offers it to the driver's buffers, and its outcome.

A packet is accepted in one step on the event loop: its keys are noted, it gets its number and its
place in the waiting room, and its stream is told. So its place in the order is fixed, and no other
packet gets between its events. Streams that wait for room form a queue: the first to come is the
first to be served, and nobody overtakes them.

The packet by which the device releases what a stream held always finds room. Such packets are few:
each needs a press that was accepted before, by a stream that is gone since.

No packet overtakes another, and none begins before the one in front is written to its end, so that
packets are neither mixed nor reordered, also where they are split (event_buffers says when they
are). The specification would allow to drop them (5.8.6.2). When a driver goes away with a part of a
packet, that part can't be taken back: the packet is lost, and its stream is told so. Every other
packet stays for the next driver.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from virtmesh.input.checks import END
from virtmesh.input.event_buffers import EventBuffers
from virtmesh.input.fates import Fates
from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram
from virtmesh.virtio.queue_device import CHAINS_PER_TURN
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.input.release import ABS_MT_SLOT, EV_ABS
from virtmesh_common.input.spec import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.input.held_keys import Event, HeldKeys, InjectorState
    from virtmesh.virtio.queue_device import ServedQueue

    Report = Callable[[int, pb.Outcome.ValueType], None]
    """Is told the number of a packet (0 if it is refused), and what became of it."""

EVENTS_PER_PACKET = 16
"""The room holds so many events for each packet that it holds."""
PACKET_EVENTS_MAX = 1024 + 2
"""Events of the longest packet: with SYN_REPORT, and the ABS_MT_SLOT that the device adds."""
ENDS = (pb.OUTCOME_DELIVERED, pb.OUTCOME_LOST)
"""The outcomes that are the last of a packet."""


@dataclass(eq=False)
class Offer:
    """A packet that a stream wants to have accepted.

    `report` is called once, and with `report_end` once more at the packet's end. `request` is what
    the events came in, for who passes them on: nobody else uses it any more.
    """

    injector: InjectorState
    events: Sequence[Event]
    report: Report
    report_end: bool = False
    request: pb.InjectRequest | None = None
    turn: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Done when the packet is accepted; cancelled when its stream waits no more."""


@dataclass(eq=False, slots=True)
class Packet:
    """A packet in the waiting room, as the driver gets it. `report` is called once, at its end."""

    number: int
    events: Sequence[bytes]
    report: Report | None
    slot_prefix: bytes | None
    """ABS_MT_SLOT event to send first if the driver that received the previous one is gone."""
    written: int = 0
    """Events that the driver has received."""
    accepted: float = field(default_factory=monotonic)
    """When it was accepted, in seconds of the monotonic clock."""
    is_dropped: bool = False
    """True if a fault keeps it from the driver."""


class Injection:
    """The packets of one device, and the one owner of each from its acceptance to its outcome.

    `look` has the event queue looked at, which calls `deliver`; it does nothing without a driver.
    `take_fault` returns the number of the fault that takes the next packet; 0 for none.
    """

    def __init__(
        self,
        held_keys: HeldKeys,
        packets_max: int,
        look: Callable[[], None],
        take_fault: Callable[[], int] = int,
    ) -> None:
        self.accepted = 0
        """Packets accepted; the number of the last one."""
        self.refused = 0
        """Packets refused since the room was full."""
        self.delivered = 0
        """Packets delivered whole."""
        self.lost = 0
        """Packets of which a driver had a part when it went away, or that a fault dropped."""
        self.split = 0
        """Packets delivered in parts."""
        self.events_accepted = 0
        """Events accepted, those that the device added among them."""
        self.events_delivered = 0
        self.durations = Histogram(LATENCY_BOUNDS)
        """Seconds from accepting to delivering a packet whole."""
        self._held_keys = held_keys
        self._packets_max = packets_max
        self._events_max = max(packets_max * EVENTS_PER_PACKET, PACKET_EVENTS_MAX)
        self._look = look
        self._fates = Fates[Packet](take_fault, look)
        self._offers: deque[Offer] = deque()
        self._waiting: deque[Packet] = deque()
        self._events_waiting = 0
        self._slot: bytes | None = None
        """The last ABS_MT_SLOT event that came into the room, if the driver can know it."""
        self._buffers: EventBuffers | None = None
        """There while a driver is."""
        self._timer: asyncio.TimerHandle | None = None
        self._timed = (0, 0)
        """The progress when the timer was started."""

    @property
    def waiting(self) -> int:
        """Packets that are not delivered whole."""
        return len(self._waiting)

    @property
    def keys_held(self) -> list[int]:
        """Codes of the keys that are held, ascending."""
        return self._held_keys.keys

    @property
    def events_waiting(self) -> int:
        """Events of those packets, with those that are delivered already."""
        return self._events_waiting

    def fits(self, events: int) -> bool:
        """Say whether a packet of so many events finds room."""
        return (
            self.waiting < self._packets_max and self._events_waiting + events <= self._events_max
        )

    # -- From streams -----------------------------------------------------------------------------

    async def offer(self, offer: Offer, *, refuse: bool) -> None:
        """Accept a packet: at once, or when there is room, unless it is to be refused then."""
        if not self._offers and self.fits(len(offer.events)):
            self._accept(offer)
            self._look()
        elif refuse:
            self.refused += 1
            offer.report(0, pb.OUTCOME_REFUSED)
        else:
            self._offers.append(offer)
            try:
                await offer.turn
            except asyncio.CancelledError:
                if offer in self._offers:
                    self._offers.remove(offer)
                if self._accept_waiting():  # who comes next may need less room
                    self._look()
                raise

    def adopt(self, injector: InjectorState, keys: Sequence[int]) -> None:
        """Let a stream hold keys that the driver has seen pressed by another process."""
        self._held_keys.adopt(injector, keys)

    def leave(self, injector: InjectorState) -> None:
        """Release what a stream holds: it has ended."""
        self._add(self._held_keys.release(injector))

    def release_all(self) -> list[int]:
        """Release everything; return the codes of the keys that were held."""
        keys = self._held_keys.keys
        self._add(self._held_keys.release_all())
        return keys

    def _accept_waiting(self) -> bool:
        """Accept packets of streams that wait, as far as there is room; False when none was."""
        before = self.accepted
        while self._offers:
            offer = self._offers[0]
            if not offer.turn.cancelled():
                if not self.fits(len(offer.events)):
                    break
                self._accept(offer)
                offer.turn.set_result(None)
            self._offers.popleft()
        return self.accepted != before

    def _accept(self, offer: Offer) -> None:
        """Accept a packet."""
        events = self._held_keys.apply(offer.injector, offer.events)
        number = self._put(events, offer.report if offer.report_end else None)
        offer.report(number, pb.OUTCOME_ACCEPTED)

    def _add(self, events: Sequence[Event]) -> None:
        """Add a packet of the device's own, unless it has no events."""
        if events:
            self._put([*events, END], None)
            self._look()

    def _put(self, events: Sequence[Event], report: Report | None) -> int:
        """Put a packet into the waiting room; return its number. Its place is fixed now."""
        self.accepted += 1
        self.events_accepted += len(events)
        self._events_waiting += len(events)
        data = [EVENT.pack(*event) for event in events]
        packet = Packet(self.accepted, data, report, self._slot)
        more = self._fates.put(self._waiting, packet)
        self._events_waiting += more
        self.events_accepted += more
        if self._held_keys.has_slots:
            for event, packed in zip(events, data, strict=True):
                if event[:2] == (EV_ABS, ABS_MT_SLOT):
                    self._slot = packed
        return self.accepted

    # -- To the driver ----------------------------------------------------------------------------

    def start(self, queue: ServedQueue, size_max: int) -> None:
        """Deliver to a driver, whose queue has at most so many entries."""
        self._buffers = EventBuffers(queue, size_max)

    def stop(self) -> None:
        """Forget the driver. A packet of which it has a part is lost; the others wait."""
        self._buffers = None
        if self._waiting and self._waiting[0].written:
            self.lost += 1
            self._end(pb.OUTCOME_LOST)
        if self._waiting:
            self._repeat_slot(self._waiting[0])
        else:
            self._slot = None
        # What the driver's slot is now depends on what it got.
        self._held_keys.forget_slot()
        self._accept_waiting()
        self._watch_patience()

    def deliver(self) -> bool:
        """Deliver and accept until nothing moves; True when there is more for another turn.

        Errors: RingCorrupt.
        """
        more = self._flush()
        while self._accept_waiting():
            more = self._flush()
        self._watch_patience()
        return more

    @property
    def patience(self) -> float | None:
        """Seconds to wait for another buffer until `give_up_waiting`; None when nothing waits."""
        if self._buffers is None or not self._waiting:
            return None
        return self._buffers.patience(len(self._waiting[0].events))

    @property
    def progress(self) -> tuple[int, int]:
        """Something that changes when a buffer comes or a packet goes."""
        return self.delivered + self.lost, self._buffers.held if self._buffers else 0

    def give_up_waiting(self) -> None:
        """Deliver in parts: no more buffers came."""
        self._timer = None
        if self._buffers is not None:
            self._buffers.give_up_waiting()
            self._look()

    def _flush(self) -> bool:
        """Write what can be written now; True when there are more chains to take."""
        buffers = self._buffers
        budget = CHAINS_PER_TURN
        while buffers is not None:
            budget -= buffers.take(budget)
            while self._waiting and self._write(buffers, self._waiting[0]):
                pass
            if budget == 0:
                return True
            if not self._waiting:
                # Buffers can wait in the ring until there is an event for them.
                buffers.queue.disable_notifications()
                return False
            if not buffers.queue.enable_notifications():
                return False
        return False

    def _write(self, buffers: EventBuffers, packet: Packet) -> bool:
        """Write a packet as far as that is possible; True when it is written to its end."""
        if packet.is_dropped:
            self.lost += 1
            self._end(pb.OUTCOME_LOST)
            return True
        begin, total = packet.written, len(packet.events)
        share = buffers.share(total - begin, begun=begin > 0)
        if not share:
            return False
        buffers.write(packet.events[begin : begin + share])
        packet.written += share
        self.events_delivered += share
        if packet.written < total:
            self.split += not begin
            return False
        self.delivered += 1
        self.durations.observe(monotonic() - packet.accepted)
        self._end(pb.OUTCOME_DELIVERED)
        return True

    def _repeat_slot(self, packet: Packet) -> None:
        """Begin a packet with the slot that only the driver that is gone was told."""
        if packet.slot_prefix is not None:
            packet.events, packet.slot_prefix = [packet.slot_prefix, *packet.events], None
            self._events_waiting += 1
            self.events_accepted += 1

    def _end(self, outcome: pb.Outcome.ValueType) -> None:
        """Take the first packet out of the room, and report what became of it."""
        packet = self._waiting.popleft()
        self._events_waiting -= len(packet.events)
        if packet.report is not None:
            packet.report(packet.number, outcome)

    def _watch_patience(self) -> None:
        """Keep a timer while a packet waits for more buffers than there are."""
        seconds, progress = self.patience, self.progress
        if self._timer is not None and (seconds is None or progress != self._timed):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and seconds is not None:
            self._timed = progress
            self._timer = asyncio.get_running_loop().call_later(seconds, self.give_up_waiting)
