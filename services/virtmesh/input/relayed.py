"""Injection in the kernel service: packets of clients on their way to the process of a device.

It is the injection of a device (injection.py) with the process in the place of the driver's
buffers. Packets that the process has are kept until it says that the driver has got them. When it
has gone, the driver says which of them came through, and which part of the next one: the rest is
for the next process. So each packet is delivered once, whichever process does it.

That holds as long as what came through is what was sent. If it is not, since something else had put
packets in as well, nobody knows which came through: those in question are reported as lost, and
the keys that they were to press or to release are set as they would have left them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from virtmesh.input.checks import END
from virtmesh.input.injection import ENDS, Injection
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.input.release import EV_KEY, RELEASED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.input.held_keys import Event, HeldKeys
    from virtmesh.input.injection import Offer, Report
    from virtmesh.input.tape import Received

    Send = Callable[[bytes], None]
    """Sends an InjectRequest to the process."""


@dataclass
class Account:
    """What became of packets."""

    delivered: int = 0
    lost: int = 0
    events_delivered: int = 0

    def add(self, other: Account) -> None:
        """Add another account to this one."""
        self.delivered += other.delivered
        self.lost += other.lost
        self.events_delivered += other.events_delivered


@dataclass(eq=False, slots=True)
class Passed:
    """A packet on its way to the process. `report` is called once, at its end."""

    number: int
    request: bytes
    """The InjectRequest that the process is given."""
    size: int
    """Its events, SYN_REPORT among them."""
    report: Report | None
    written: int = 0
    """Events that the driver has received from the processes that have gone."""
    accepted: float = field(default_factory=monotonic)
    """When it was accepted, in seconds of the monotonic clock."""

    def events(self) -> list[Event]:
        """Return its events."""
        request = pb.InjectRequest.FromString(self.request)
        events = [(event.type, event.code, event.value) for event in request.events]
        return [*events, END][: self.size]

    def left(self) -> list[Event]:
        """Return the events that the driver has not received."""
        return self.events()[self.written :]

    def spell_left(self) -> bytes:
        """Return the InjectRequest for the events that the driver has not received."""
        return spell(self.number, self.left()) if self.written else self.request


class RelayedInjection(Injection):
    """The packets of all clients of one device, in all lives of its process."""

    def __init__(self, held_keys: HeldKeys, packets_max: int) -> None:
        super().__init__(held_keys, packets_max, self._pump)
        self.confirmed = 0
        """Packets that the process has delivered, and that the tape has not passed yet."""
        self.before = Account()
        """What became of packets of the processes that have gone."""
        self.resumed = self.unknown = 0
        self._now = Account()
        self._unsent: deque[Passed] = deque()
        self._sent: dict[int, Passed] = {}
        """Those that the process has, by number, in order."""
        self._send: Send | None = None
        self._untold: deque[tuple[int, Report]] = deque()
        """Packets that the process was given, and has not said to have in its waiting room."""

    @property
    def waiting(self) -> int:
        """Packets that are not delivered whole."""
        return len(self._unsent) + len(self._sent)

    @property
    def unsent(self) -> int:
        """Packets that no process has."""
        return len(self._unsent)

    def link(self, send: Send) -> None:
        """Give packets to a process."""
        self._send, self.confirmed = send, 0
        self._pump()

    def unlink(self) -> None:
        """Keep packets: the process has gone, or is of no use."""
        self._send = None
        self._tell()

    def answer(self, response: pb.InjectResponse) -> None:
        """Take what the process says about packets."""
        outcome, numbers = response.outcome, (response.sequence, *response.more)
        if outcome == pb.OUTCOME_ACCEPTED:
            self._tell(numbers[-1])
        if outcome not in ENDS:
            return
        for number in numbers:
            packet = self._sent.pop(number, None)
            if packet is not None:
                self._tell(number)
                self.confirmed += outcome == pb.OUTCOME_DELIVERED
                self._settle(packet, outcome)
        self._pump()

    def conclude(self, received: Received, down: set[int], *, provable: bool) -> bool:
        """Find out what became of the packets that a process had which has gone.

        `down` are the keys that the driver has seen pressed. Returns False if it can't be proven
        which came through.
        """
        sent = list(self._sent.values())
        self._sent.clear()
        whole, part = received.whole, received.part
        agrees = provable and received.is_complete and _is_begin(sent, whole, part)
        if agrees:
            for packet in sent[: len(whole)]:
                self._settle(packet, pb.OUTCOME_DELIVERED)
            rest = sent[len(whole) :]
            if part:
                rest[0].written += len(part)
                self._now.events_delivered += len(part)
            self.resumed += len(rest)
            self._unsent.extendleft(reversed(rest))
        else:
            for packet in sent:
                self.unknown += 1
                self._settle(packet, pb.OUTCOME_LOST)
            self._mend_keys(sent, down)
        self._held_keys.forget_slot()
        self.before.add(self._now)
        self._now = Account()
        self._accept_waiting()
        return agrees or not (sent or part)

    def drop_all(self) -> None:
        """Report every packet as lost: the device is another one."""
        while self._unsent:
            self.unknown += 1
            self._settle(self._unsent.popleft(), pb.OUTCOME_LOST)

    def _accept(self, offer: Offer) -> None:
        """Accept a packet. The process gets the request that it came in, if it gets all of it.

        Its injector is told when the process has it, which lives on if this one does not. Without a
        process it is kept here.
        """
        events = self._held_keys.apply(offer.injector, offer.events)
        request = offer.request if events == offer.events else None
        number = self._put(events, offer.report if offer.report_end else None, request)
        self._untold.append((number, offer.report))
        if self._send is None:
            self._tell()

    def _tell(self, last: int | None = None) -> None:
        """Tell injectors that their packets are accepted: all, or those up to a number."""
        untold = self._untold
        while untold and (last is None or untold[0][0] <= last):
            number, report = untold.popleft()
            report(number, pb.OUTCOME_ACCEPTED)

    def _put(
        self,
        events: Sequence[Event],
        report: Report | None,
        request: pb.InjectRequest | None = None,
    ) -> int:
        """Take a packet, which a request may hold already, and send it if that may be."""
        self.accepted += 1
        self.events_accepted += len(events)
        self._events_waiting += len(events)
        data = spell(self.accepted, events, request)
        self._unsent.append(Passed(self.accepted, data, len(events), report))
        self._give()
        return self.accepted

    def _pump(self) -> None:
        """Give the process what it may have, and accept what there is room for then."""
        self._give()
        while self._accept_waiting():
            pass

    def _give(self) -> None:
        """Give the process what it may have."""
        while self._send is not None and self._unsent:
            packet = self._unsent.popleft()
            self._sent[packet.number] = packet
            self._send(packet.spell_left())

    def _settle(self, packet: Passed, outcome: pb.Outcome.ValueType) -> None:
        """End a packet that is in the room no more, and report what became of it."""
        self._events_waiting -= packet.size
        if outcome == pb.OUTCOME_DELIVERED:
            self._now.delivered += 1
            self._now.events_delivered += packet.size - packet.written
            self.delivered += 1
            self.durations.observe(monotonic() - packet.accepted)
        else:
            self._now.lost += 1
            self.lost += 1
        if packet.report is not None:
            packet.report(packet.number, outcome)

    def _mend_keys(self, lost: Sequence[Passed], down: set[int]) -> None:
        """Set keys as packets would have left them of which nobody knows whether they came."""
        wanted = {
            code: value
            for packet in lost
            for kind, code, value in packet.events()
            if kind == EV_KEY
        }
        events = [
            (EV_KEY, code, min(value, 1))
            for code, value in wanted.items()
            if (value != RELEASED) != (code in down)
        ]
        if events:
            self._put([*events, END], None)
            self._unsent.rotate(1)  # Before what waits, which came behind what was lost.


def spell(number: int, events: Sequence[Event], request: pb.InjectRequest | None = None) -> bytes:
    """Make the InjectRequest of some events, or of a request that holds them. Both were checked."""
    if request is None:
        request = pb.InjectRequest(
            events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in events]
        )
    request.DiscardUnknownFields()  # They would take room that nobody has counted.
    request.sequence = number
    request.report_delivered = request.any_value = True
    request.overflow = pb.OVERFLOW_WAIT
    return request.SerializeToString()


def _is_begin(sent: Sequence[Passed], whole: list[list[int]], part: list[int]) -> bool:
    """Say whether what came through is the begin of what was sent."""
    if len(whole) + bool(part) > len(sent):
        return False
    words = [_words(packet)[:-1] for packet in sent[: len(whole) + 1]]
    is_same = all(one == came for one, came in zip(words, whole, strict=False))
    return is_same and (not part or words[len(whole)][: len(part)] == part)


def _words(packet: Passed) -> list[int]:
    """Return what the driver makes of what it has not got of a packet."""
    return [kind << 48 | code << 32 | value & 0xFFFF_FFFF for kind, code, value in packet.left()]
