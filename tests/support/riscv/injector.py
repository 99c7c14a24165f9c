"""An injector of an input device that goes on over the device's restarts, and keeps the books."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from threading import Condition, Thread
from typing import TYPE_CHECKING

import grpc

from tests.support.riscv.events import EV_KEY, Event
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.evdev import CODES, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 6
"""Packets on their way to the driver at a time."""
UNREAD = 12
"""Most events that the driver has and the guest's program has not read: evdev keeps 64 for it."""
QUIET_LINES = 5
"""Lines of progress without an event after which none is on its way to the guest's program."""
LOST_LINES = 300
"""As many lines without an event while some that were delivered are unread: those are lost."""
EV_REL, EV_ABS = (TYPES[name] for name in ("EV_REL", "EV_ABS"))
KEYS = [CODES["EV_KEY"][f"KEY_{letter}"] for letter in "ABDEFGHIJKLMNOPQRSTUVWXYZ"]
"""Without C: nobody means Ctrl-C."""
PLACES = 30000


@dataclass
class Packet:
    """A packet of one event that was sent."""

    event: Event
    needed: bool = True
    """False for one that the kernel may leave out, since it changes nothing."""
    delivered: bool = False
    """False: the device was killed, and nobody knows."""


def strokes() -> Iterator[Event]:
    """Press and release one key after another."""
    return ((EV_KEY, key, value) for key in cycle(KEYS) for value in (1, 0))


def moves() -> Iterator[Event]:
    """Move a mouse, each time by another distance."""
    return ((EV_REL, 0, distance) for distance in count(1))


def points() -> Iterator[Event]:
    """Point with a tablet, each time at another place."""
    return ((EV_ABS, 0, place) for place in cycle(range(1, PLACES)))


EVENTS: dict[str, Callable[[], Iterator[Event]]] = {
    "keyboard": strokes,
    "mouse": moves,
    "tablet": points,
}


@dataclass
class Backlog:
    """Events, SYN_REPORT among them, that a guest's program has not read yet."""

    needed: int = 0
    """Events that have to arrive."""
    _read: int = 0
    """Events that arrived: those that had to, and some of unknown fate."""
    _quiet: int = 0
    """For how many lines of progress nothing arrived."""
    _surplus: int = 0
    """What had arrived beyond what was needed, when all was answered and quiet."""
    settled: bool = True
    """False while that is not known: from the beginning of a session on."""

    def note_read(self, events: int, *, all_answered: bool) -> None:
        """Take note how many events the program has read by the next line of progress."""
        self._quiet = self._quiet + 1 if events == self._read else 0
        self._read = events
        if not self.settled and all_answered and self.is_quiet:
            self._surplus, self.settled = self._read - self.needed, True

    def unsettle(self) -> None:
        """Count anew what arrives beyond what is needed: events of unknown fate may come."""
        self._quiet, self.settled = 0, False

    @property
    def unread(self) -> int:
        """Events that have to arrive and are unread. Not known before all is settled."""
        return self.needed - self._read + self._surplus

    @property
    def is_quiet(self) -> bool:
        """True if nothing more arrives. A program that got no processor time is not quiet."""
        return self._quiet >= (QUIET_LINES if self.unread <= 0 else LOST_LINES)


class Injector:
    """Injects packets of `events` at an address, in a thread of its own, from `start` to `stop`."""

    def __init__(self, address: str, events: Iterator[Event]) -> None:
        self.packets: list[Packet] = []
        """All that were sent, in order."""
        self.sessions = 1
        """Connections that there were: one more for each time that the device was killed."""
        self.session_delivered = 0
        """Packets of this session that were delivered."""
        self._address, self._events = address, events
        self._first: list[Packet] = []
        """What is to be sent before more events: keys are let go."""
        self._begun = 0
        """Index of the first packet of this session."""
        self._backlog = Backlog()
        self._stopped = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more, but for the release of a key; wait for the answers."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def note_read(self, events: int) -> None:
        """Take note how many events, SYN_REPORT among them, the guest's program has read."""
        with self._changed:
            self._backlog.note_read(events, all_answered=not self.open)
            self._changed.notify_all()

    @property
    def open(self) -> int:
        """Packets of this session that were sent and not answered."""
        return len(self.packets) - self._begun - self.session_delivered

    @property
    def is_quiet(self) -> bool:
        """True if all that was sent was answered, and nothing more arrives."""
        return not self.open and self._backlog.is_quiet

    def _run(self) -> None:
        """Inject, and begin again when the device is gone."""
        while not self._stopped or self._held or self._first:
            try:
                with open_sync_channel(self._address) as channel:
                    stub = InputServiceStub(channel)
                    for answer in stub.Inject(self._requests(), wait_for_ready=True):
                        self._note_answer(answer)
            except grpc.RpcError:
                self._begin_again()

    def _requests(self) -> Iterator[pb.InjectRequest]:
        """Yield packets while driver and program keep up."""
        session = self.sessions
        for sequence in count(1):
            with self._changed:
                self._changed.wait_for(lambda: self._may_send or self.sessions != session)
                over = self._stopped and not self._held and not self._first
                if over or self.sessions != session:
                    return
                packet = self._first.pop(0) if self._first else Packet(next(self._events))
                if not packet.needed and not self._first:
                    self._backlog.unsettle()
                self.packets.append(packet)
            yield _request(sequence, [packet.event])

    def _note_answer(self, answer: pb.InjectResponse) -> None:
        if answer.outcome == pb.OUTCOME_ACCEPTED:
            return
        assert answer.outcome == pb.OUTCOME_DELIVERED
        with self._changed:
            packet = self.packets[self._begun + answer.sequence - 1]
            packet.delivered = True
            self._backlog.needed += 2 * packet.needed
            self.session_delivered += 1
            self._changed.notify_all()

    def _begin_again(self) -> None:
        """Begin a session. A key whose fate is not known is pressed and released in it.

        The new process of the device holds no key, so it has none to release.
        """
        with self._changed:
            last = [*self.packets[self._begun :], *self._first]
            unknown = [one.event for one in last if not one.delivered]
            if self._held and not self._first:
                unknown.append(self.packets[-1].event)
                next(self._events)  # Its release.
            keys = dict.fromkeys(code for kind, code, _ in unknown if kind == EV_KEY)
            self._first = [
                Packet((EV_KEY, code, value), needed=False) for code in keys for value in (1, 0)
            ]
            self._begun, self.session_delivered = len(self.packets), 0
            self._backlog.unsettle()
            self.sessions += 1
            self._changed.notify_all()

    @property
    def _may_send(self) -> bool:
        if self._stopped:
            return True
        backlog = self._backlog
        return backlog.settled and self.open < WINDOW and backlog.unread < UNREAD

    @property
    def _held(self) -> bool:
        """True while a key is down."""
        return bool(self.packets) and self.packets[-1].event[::2] == (EV_KEY, 1)


def _request(sequence: int, events: Sequence[Event]) -> pb.InjectRequest:
    return pb.InjectRequest(
        sequence=sequence,
        events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in events],
        report_delivered=True,
    )


def check_arrived(sent: Sequence[Packet], arrived: Sequence[Event]) -> int:
    """Check that events arrived in order, once, and all that were delivered.

    Returns how many of those arrived whose fate was not known. Errors: ValueError, with where.
    """
    place = extra = 0
    for index, event in enumerate(arrived):
        while place < len(sent) and sent[place].event != event:
            if sent[place].delivered and sent[place].needed:
                raise ValueError(f"{event} arrived as event {index}, before {sent[place]}")
            place += 1
        if place == len(sent):
            raise ValueError(f"{event} arrived as event {index}, and was not sent then")
        extra += not sent[place].delivered
        place += 1
    missing = [one for one in sent[place:] if one.delivered and one.needed]
    if missing:
        raise ValueError(f"{len(missing)} packets are missing at the end: {missing[:3]}")
    return extra
