"""Injection: many streams, one order of packets, and word of what became of each.

A packet is accepted in one step on the event loop: noted in the ledger, numbered, put into the
waiting room, reported. So its place in the order is fixed, and no other packet gets between its
events. Streams that wait for room queue up: the first to come is the first to be served, and
nobody gets in front of them.

The releases that the device adds when a stream ends always find room. They are few: each needs a
press that was accepted, so that at most as many wait as the device has keys and touches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from virtmesh.input.checks import END
from virtmesh.input.delivery import Delivery, Packet
from virtmesh.input.held_keys import ABS_MT_SLOT, EV_ABS
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import RingCorrupt
from virtmesh_common.input.spec import EVENT, EVENTQ

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh_native import Interrupt

    from virtmesh.input.held_keys import Event, Holder, Ledger
    from virtmesh.input.rings import EventRing

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Offer:
    """A packet that wants to be accepted.

    `report` is told the number of the packet (0: refused), and what became of it: once, and with
    `report_end` once more at its end.
    """

    holder: Holder
    events: Sequence[Event]
    report: Callable[[int, pb.Outcome.ValueType], None]
    report_end: bool = False
    turn: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Done when the packet is accepted; cancelled when its stream waits no more."""


class Injection:
    """The way of packets from streams to the driver."""

    def __init__(self, ledger: Ledger, packets_max: int, interrupt: Interrupt) -> None:
        self.delivery = Delivery(packets_max)
        self.accepted = 0
        """Packets accepted; the number of the last one."""
        self.refused = 0
        """Packets refused since the room was full."""
        self._events_accepted = 0
        self._ledger = ledger
        self._interrupt = interrupt
        self._slot: bytes | None = None
        """The last event that was put into the room and chose a slot, if the driver can know it."""
        self._offers: deque[Offer] = deque()
        self._next_pump: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timed = (0, 0)

    @property
    def events_accepted(self) -> int:
        """Events accepted, those that the device added among them."""
        return self._events_accepted + self.delivery.events_added

    # -- From streams -----------------------------------------------------------------------------

    async def offer(self, offer: Offer, *, refuse: bool) -> None:
        """Accept a packet: at once, or when there is room, unless it is to be refused then."""
        if not self._offers and self.delivery.fits(len(offer.events)):
            self._accept(offer)
            self.pump()
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
                self.pump()  # who comes next may need less room
                raise

    def leave(self, holder: Holder) -> None:
        """Release what a stream holds: it has ended."""
        self._add(self._ledger.release(holder))

    def release_all(self) -> list[int]:
        """Release everything; return the codes of the keys that were held."""
        keys = self._ledger.keys
        self._add(self._ledger.release_all())
        return keys

    # -- To the driver ----------------------------------------------------------------------------

    def start(self, ring: EventRing, size_max: int) -> None:
        """Deliver to a driver, whose queue has at most so many entries."""
        self.delivery.start(ring, size_max)
        self.pump()

    def stop(self) -> None:
        """Forget the driver; what it has not begun to get waits for the next."""
        self.delivery.stop()
        # What the driver's slot is now depends on what it got.
        self._ledger.forget_slot()
        if not self.delivery.waiting:
            self._slot = None
        self.pump()

    def pump(self) -> None:
        """Deliver and accept until nothing moves; interrupt the driver if it wants that."""
        try:
            more = self.delivery.flush()
            while self._accept_waiting():
                more = self.delivery.flush()
        except RingCorrupt as error:
            log.warning("the driver broke the event queue", error=error.message)
            self.stop()
            self._interrupt.set_fault(f"event queue: {error.message}")
            return
        if self.delivery.needs_interrupt():
            self._interrupt.raise_used(EVENTQ)
        if more and self._next_pump is None:
            self._next_pump = asyncio.get_running_loop().call_soon(self._pump_again)
        self._watch_patience()

    def _pump_again(self) -> None:
        """Go on after the event loop has had its turn."""
        self._next_pump = None
        self.pump()

    def _watch_patience(self) -> None:
        """Keep a timer while a packet waits for more buffers than there are."""
        seconds, progress = self.delivery.patience, self.delivery.progress
        if self._timer is not None and (seconds is None or progress != self._timed):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and seconds is not None:
            self._timed = progress
            self._timer = asyncio.get_running_loop().call_later(seconds, self._lose_patience)

    def _lose_patience(self) -> None:
        """Deliver in parts: no more buffers came."""
        self._timer = None
        self.delivery.give_up_waiting()
        self.pump()

    # -- In between -------------------------------------------------------------------------------

    def _accept_waiting(self) -> bool:
        """Accept packets of streams that wait, as far as there is room; False when none was."""
        before = self.accepted
        while self._offers:
            offer = self._offers[0]
            if not offer.turn.cancelled():
                if not self.delivery.fits(len(offer.events)):
                    break
                self._accept(offer)
                offer.turn.set_result(None)
            self._offers.popleft()
        return self.accepted != before

    def _accept(self, offer: Offer) -> None:
        """Accept a packet."""
        events = self._ledger.apply(offer.holder, offer.events)
        number = self._put(events, offer.report if offer.report_end else None)
        offer.report(number, pb.OUTCOME_ACCEPTED)

    def _add(self, packets: Sequence[Sequence[Event]]) -> None:
        """Add packets of the device's own."""
        for events in packets:
            self._put([*events, END], None)
        if packets:
            self.pump()

    def _put(
        self,
        events: Sequence[Event],
        report: Callable[[int, pb.Outcome.ValueType], None] | None,
    ) -> int:
        """Put a packet into the waiting room; return its number."""
        self.accepted += 1
        self._events_accepted += len(events)
        data = [EVENT.pack(*event) for event in events]
        self.delivery.put(Packet(self.accepted, data, report, self._slot))
        for event, packed in zip(events, data, strict=True):
            if event[:2] == (EV_ABS, ABS_MT_SLOT):
                self._slot = packed
        return self.accepted
