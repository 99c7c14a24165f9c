"""A client that injects numbered packets, and reads what the driver receives."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from tests.soak.actors.actor import Actor, Follower
from tests.soak.expectations import BREAKING
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from tests.soak.actors.actor import World
    from virtmesh_client.input.device import Input
    from virtmesh_client.input.models import Received
    from virtmesh_client.input.watch import EventWatch

Packet = tuple[str, ...]
"""The events of a packet in words, without its SYN_REPORT."""
BATCH_MAX = 16
SIDE = 32768
"""Values that an axis of the tablet has."""
KEYS = ("KEY_A", "KEY_E", "KEY_L", "KEY_S", "KEY_V", "KEY_SPACE", "KEY_ENTER")
SHAPES = {
    "keyboard": [[key] for key in KEYS],
    "mouse": [["REL_X"]],
    "tablet": [["ABS_X", "ABS_Y"]],
}
"""The codes that a packet of ours has."""


@dataclass
class Account:
    """What became of the packets of a round."""

    delivered: list[Packet] = field(default_factory=list)
    """In the order in which they were sent; those of which the client was told."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Packets that were lost, or of which nobody knows."""
    received: list[Packet] = field(default_factory=list)
    """What the driver received, in order."""


class Injector(Actor):
    """Injects into one device."""

    role = "injector"

    def __init__(self, world: World, device: str, number: int = 0) -> None:
        super().__init__(world, device, number)
        self.account = Account()
        self._number = 0
        self._input: Input | None = None
        self._watch: EventWatch | None = None
        self._follower: Follower | None = None
        self._lock = threading.Lock()
        self._half: list[str] = []
        self._sequence = 0
        self._is_fresh = True
        """No packet has ended since the stream began, which may have been in the middle of one."""
        self._skips_report = False
        """The next event belongs to a SYN_DROPPED."""
        self._seen: set[Packet] = set()

    def step(self) -> None:
        """Inject a few packets, and wait until the driver has them."""
        self._open()
        packets = [one for _ in range(self.chance.randint(1, BATCH_MAX)) for one in self._next()]
        events = [
            (word.split()[0], int(word.split()[1]))
            for packet in packets
            for word in (*packet, "SYN_REPORT 0")
        ]
        self.operation = "inject"
        begin = self.journal.now()
        try:
            done = cast("Input", self._input).inject(events, wait="delivered")
        except VirtmeshError:
            self.account.outcomes["unknown"] += len(packets)
            raise
        if done.lost or done.refused:
            self.account.outcomes.update(lost=done.lost, refused=done.refused)
            self.account.outcomes["among"] += len(packets) - done.lost - done.refused
        else:
            self.account.delivered += packets
        self.did("inject", begin)
        self.gate.sleep(self.chance.uniform(0.0, 0.05))

    def failed(self, error: VirtmeshError) -> None:
        """Begin with new streams."""
        self.close()

    def end(self) -> None:
        """Close what is open."""
        self.close()

    def close(self) -> None:
        """End both streams."""
        watch, self._watch = self._watch, None
        device, self._input = self._input, None
        if watch is not None:
            watch.close()
        if self._follower is not None:
            self._follower.join()
            self._follower = None
        if device is not None:
            try:
                device.close()
            except VirtmeshError as error:
                self.told("close", self.journal.now(), error)

    def new_account(self) -> None:
        """Begin a round, while all rest."""
        self.account = Account()

    def caught_up(self, count: int) -> bool:
        """Return whether so many packets were received in the round."""
        with self._lock:
            return len(self.account.received) >= count

    @property
    def is_watching(self) -> bool:
        """True while the stream of events has not ended."""
        return self._follower is not None and self._follower.is_alive()

    def _open(self) -> None:
        if not self.is_watching:
            self.close()
        if self._input is None:
            self.operation = "watch"
            self._input = self.machine.input(self.device)
            self._watch = self._input.watch()
            self._half, self._sequence = [], self._watch.sequence
            self._is_fresh = True
            self._follower = Follower(self, self._watch, self._take)

    def _take(self, item: object) -> None:
        """Take an event that the driver received."""
        received = cast("Received", item)
        text = str(received.event)
        with self._lock:
            if text.startswith("SYN_DROPPED"):
                self._note_restart(received.sequence)
                return
            if self._skips_report:
                # Of a kernel service that goes on, the two have numbers of their own.
                self._skips_report, self._sequence = False, received.sequence
                return
            self._sequence += 1
            if received.sequence != self._sequence:
                self.wrong(
                    f"event {received.sequence} of {self.device} follows {self._sequence - 1}"
                )
                self._sequence = received.sequence
            if text.startswith("SYN_REPORT"):
                self._check(tuple(self._half))
                self._half = []
            else:
                self._half.append(text)

    def _note_restart(self, sequence: int) -> None:
        """Begin anew after SYN_DROPPED: a stream that outlived a driver or a service says it so."""
        if not self._felt(*BREAKING):
            self.wrong(f"events of {self.device} were dropped")
        self._half, self._sequence = [], sequence
        self._is_fresh = self._skips_report = True

    def _check(self, packet: Packet) -> None:
        """Check that a packet was sent, and comes once."""
        is_fresh, self._is_fresh = self._is_fresh, False
        codes = [word.split()[0] for word in packet]
        if codes not in SHAPES[self.device]:
            if not is_fresh and not self._felt("wrong-id", "wrong-length"):
                self.wrong(f"{self.device} received {packet}, which is no packet of ours")
            return
        self.account.received.append(packet)
        if self.device == "keyboard":
            return
        if packet in self._seen and not self._felt("doubled-packet", "wrong-id"):
            self.wrong(f"{self.device} received {packet} twice")
        self._seen.add(packet)
        words = [int(word.split()[1]) for word in packet]
        number = words[0] if self.device == "mouse" else words[0] + SIDE * words[-1]
        if not 0 < number <= self._number:
            self.wrong(f"{self.device} received {packet}, which nobody sent")

    def _felt(self, *kinds: str) -> bool:
        """Return whether the device has one of these faults, or had it just now.

        One that gives back a wrong chain makes its driver read a buffer that has no event.
        """
        now = self.journal.now()
        return any(one.kind in kinds for one in self.journal.felt(self.device, now, now))

    def _next(self) -> list[Packet]:
        """Return the next packets, each with a number of its own where the device has room."""
        if self.device == "keyboard":
            key = self.chance.choice(KEYS)
            return [(f"{key} 1",), (f"{key} 0",)]
        self._number += 1
        if self.device == "mouse":
            return [(f"REL_X {self._number}",)]
        return [(f"ABS_X {self._number % SIDE}", f"ABS_Y {self._number // SIDE}")]
