"""What all actors are: a thread that does one operation after the other, through the library."""

from __future__ import annotations

import random
import threading
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import virtmesh_client
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.soak.gate import Gate
    from tests.soak.journal import Journal
    from tests.support.cli import Cli
    from virtmesh_client import Machine

AFTER_ERROR_SECONDS = 0.1
"""Pause behind an error: a service that is away is not asked all the time."""


@dataclass
class World:
    """What all actors share."""

    cli: Cli
    seed: int
    journal: Journal
    gate: Gate
    address: str
    injected: Counter[tuple[str, int, str]]
    """Errors that clients were told of, by device, pid of its service, and cause."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Actor(threading.Thread):
    """A client of one device. A kind of it has a role, which the table of expectations names."""

    role: ClassVar[str]

    def __init__(self, world: World, device: str, number: int = 0) -> None:
        super().__init__(name=f"{self.role} {number} of {device}", daemon=True)
        self.world = world
        self.device = device
        self.journal = world.journal
        self.gate = world.gate
        # Text seeds the same in every process.
        self.chance = random.Random(f"{world.seed} {self.name}")  # noqa: S311 - reproducible
        self.machine: Machine
        self.operation = ""
        """What is being done, for errors."""
        self.begun = 0.0
        """Since when, for errors: a stream may have ended before anybody looked."""

    def run(self) -> None:
        """Work until the end."""
        try:
            with virtmesh_client.connect(self.world.address) as self.machine:
                self.begin()
                while self.gate.enter(self.name):
                    self._one()
                self._last()
        except Exception:  # noqa: BLE001 - a fault of the soak itself is told as well
            self.journal.violate(self.name, traceback.format_exc())
        finally:
            self.gate.leave(self.name)

    def begin(self) -> None:
        """Prepare, before the gate opens."""

    def step(self) -> None:
        """Do one operation, or a few. Errors: VirtmeshError."""
        raise NotImplementedError

    def raise_end(self, follower: Follower) -> None:
        """Raise the error with which a stream ended, if there was one, as of that time."""
        if follower.error is not None:
            self.begun = follower.ended
            raise follower.error

    def failed(self, error: VirtmeshError) -> None:
        """Do what is needed after an error, before the next operation."""

    def end(self) -> None:
        """Look once more, and close what is open."""

    def told(self, operation: str, begin: float, error: Exception) -> bool:
        """Note an error; return whether it was expected."""
        return self.journal.met((self.name, self.role, self.device), operation, begin, error)

    def did(self, operation: str, begin: float, moved: int = 0) -> None:
        """Note an operation that succeeded."""
        self.journal.did(self.role, operation, begin, moved)

    def wrong(self, what: str) -> None:
        """Note something that must not be."""
        self.journal.violate(self.name, what)

    def _last(self) -> None:
        self.begun = self.journal.now()
        try:
            self.end()
        except VirtmeshError as error:
            self.told(self.operation, self.begun, error)

    def _one(self) -> None:
        self.begun = self.journal.now()
        try:
            self.step()
        except VirtmeshError as error:
            self.told(self.operation, self.begun, error)
            self.failed(error)
            self.gate.sleep(AFTER_ERROR_SECONDS)


class Follower(threading.Thread):
    """Reads a stream on a thread of its own, until it is closed.

    `error` says how the stream ended, `ended` when.
    """

    ended = 0.0

    def __init__(
        self, actor: Actor, stream: Iterator[object], take: Callable[[object], None]
    ) -> None:
        super().__init__(name=f"{actor.name} (stream)", daemon=True)
        self._actor = actor
        self.error: VirtmeshError | None = None
        self._stream = stream
        self._take = take
        self.start()

    def run(self) -> None:
        """Read until the end."""
        try:
            for item in self._stream:
                self._take(item)
        except VirtmeshError as error:
            self.error = error
            self.ended = self._actor.journal.now()
        except Exception:  # noqa: BLE001 - a fault of the soak itself is told as well
            self._actor.wrong(traceback.format_exc())
