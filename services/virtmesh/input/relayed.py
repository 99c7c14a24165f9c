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

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from virtmesh.input.checks import END
from virtmesh.input.injection import Injection, Packet
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.input.release import EV_KEY, RELEASED
from virtmesh_common.input.spec import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.input.held_keys import HeldKeys
    from virtmesh.input.tape import Received

WINDOW = 128
"""Most packets that a process has at a time."""


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
        self._sent: dict[int, Packet] = {}
        """Those that the process has, by number, in order."""
        self._send: Callable[[pb.InjectRequest], None] | None = None

    @property
    def waiting(self) -> int:
        """Packets that are not delivered whole."""
        return len(self._waiting) + len(self._sent)

    @property
    def unsent(self) -> int:
        """Packets that no process has."""
        return len(self._waiting)

    def link(self, send: Callable[[pb.InjectRequest], None]) -> None:
        """Give packets to a process."""
        self._send, self.confirmed = send, 0
        self._pump()

    def unlink(self) -> None:
        """Keep packets: the process has gone, or is of no use."""
        self._send = None

    def answer(self, response: pb.InjectResponse) -> None:
        """Take what the process says about a packet."""
        if response.outcome not in {pb.OUTCOME_DELIVERED, pb.OUTCOME_LOST}:
            return
        packet = self._sent.pop(response.sequence, None)
        if packet is not None:
            self.confirmed += response.outcome == pb.OUTCOME_DELIVERED
            self._settle(packet, response.outcome)
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
            self._waiting.extendleft(reversed(rest))
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
        while self._waiting:
            self.unknown += 1
            self._settle(self._waiting.popleft(), pb.OUTCOME_LOST)

    def _pump(self) -> None:
        """Give the process what it may have, and accept what there is room for then."""
        while True:
            while self._send is not None and self._waiting and len(self._sent) < WINDOW:
                packet = self._waiting.popleft()
                self._sent[packet.number] = packet
                self._send(_to_request(packet))
            if not self._accept_waiting():
                return

    def _settle(self, packet: Packet, outcome: pb.Outcome.ValueType) -> None:
        """End a packet that is in the room no more, and report what became of it."""
        self._events_waiting -= len(packet.events)
        if outcome == pb.OUTCOME_DELIVERED:
            self._now.delivered += 1
            self._now.events_delivered += len(packet.events) - packet.written
            self.delivered += 1
            self.durations.observe(monotonic() - packet.accepted)
        else:
            self._now.lost += 1
            self.lost += 1
        if packet.report is not None:
            packet.report(packet.number, outcome)

    def _mend_keys(self, lost: Sequence[Packet], down: set[int]) -> None:
        """Set keys as packets would have left them of which nobody knows whether they came."""
        wanted = {
            code: value
            for packet in lost
            for kind, code, value in map(EVENT.unpack, packet.events)
            if kind == EV_KEY
        }
        events = [
            (EV_KEY, code, min(value, 1))
            for code, value in wanted.items()
            if (value != RELEASED) != (code in down)
        ]
        if events:
            self._put([*events, END], None)
            self._waiting.rotate(1)  # Before what waits, which came behind what was lost.


def _to_request(packet: Packet) -> pb.InjectRequest:
    """Make the request for what the driver has not got of a packet. Its values were checked."""
    events = map(EVENT.unpack, packet.events[packet.written :])
    return pb.InjectRequest(
        sequence=packet.number,
        events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in events],
        report_delivered=True,
        any_value=True,
    )


def _is_begin(sent: Sequence[Packet], whole: list[list[int]], part: list[int]) -> bool:
    """Say whether what came through is the begin of what was sent."""
    if len(whole) + bool(part) > len(sent):
        return False
    words = [_words(packet)[:-1] for packet in sent[: len(whole) + 1]]
    is_same = all(one == came for one, came in zip(words, whole, strict=False))
    return is_same and (not part or words[len(whole)][: len(part)] == part)


def _words(packet: Packet) -> list[int]:
    """Return what the driver makes of what it has not got of a packet."""
    return [
        kind << 48 | code << 32 | value & 0xFFFF_FFFF
        for kind, code, value in map(EVENT.unpack, packet.events[packet.written :])
    ]
