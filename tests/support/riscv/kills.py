"""Kills of the devices of a guest under load, and what the guest saw of each."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import grpc

from tests.support.riscv.boot import INPUTS
from tests.support.riscv.flights import Flights
from tests.support.riscv.injector import EVENTS, Injector
from tests.support.riscv.load import LINE_CHARACTERS, READERS, WRITERS, Progress, next_progress
from virtmesh_common.api.block.v1 import block_pb2 as pb
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.channel import open_sync_channel

if TYPE_CHECKING:
    from tests.support.riscv.boot import Rig

DEVICES = ("vda", *INPUTS, "serial")
LIMIT, LIMIT_SECONDS = 5, 61.0
"""How often a process may be restarted in which time: the supervisor's limit, and a second."""
BETWEEN_LINES = 40
"""Most lines of progress between two kills, and between two checks whether one is over."""
AFTER_FILES = WRITERS + READERS + 1
"""Files that are verified after a kill: one more than could be under way without the disk."""
AFTER_LINES = 5
AFTER_PACKETS = 3
BUSY_SECONDS = 2.0
"""How long a kill waits until something is under way."""


@dataclass(frozen=True)
class Kill:
    """A kill that the guest has survived.

    `seconds` is how long it took until the guest had used the device again; `in_flight` what was
    under way: requests of a disk, packets of an input device.
    """

    device: str
    seconds: float
    in_flight: int


@dataclass
class Pending:
    """A kill whose device is not in use again yet."""

    device: str
    began: float
    restarts: int
    verified: int
    sessions: int
    in_flight: int
    line: int = -1
    """The last line of progress when the process was seen to be another."""


@dataclass
class Killer:
    """Kills devices at random moments, each at most as often as it is restarted."""

    rig: Rig
    random: Random
    injectors: dict[str, Injector] = field(init=False)
    survived: list[Kill] = field(default_factory=list)
    longest_silence: float = 0.0
    """Longest time between two lines of the console, in seconds."""

    def __post_init__(self) -> None:
        self.injectors = {
            device: Injector(self.rig.address(device), EVENTS[device]()) for device in INPUTS
        }
        self._pending: dict[str, Pending] = {}
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LIMIT))
        self._killed: Counter[str] = Counter()
        self._heard = time.monotonic()
        self._flights = Flights(self.rig, "vda")

    def run(self, kills: int) -> None:
        """Kill so often, and wait until the guest uses every device again.

        Errors: GuestTimeout when it does not.
        """
        for injector in self.injectors.values():
            injector.start()
        self._lines(BETWEEN_LINES)
        while self._killed.total() < kills or self._pending:
            progress = self._lines(self.random.randint(1, BETWEEN_LINES))
            for pending in list(self._pending.values()):
                self._look(pending, progress)
            ready = self._ready()
            if self._killed.total() < kills and ready:
                self._kill(self.random.choice(ready), progress)

    def drain(self) -> None:
        """Let the injectors end, and wait until the guest has read what was delivered."""
        for injector in self.injectors.values():
            injector.stop()
        while not all(injector.is_quiet for injector in self.injectors.values()):
            self._lines(1)

    def _lines(self, count: int) -> Progress:
        """Wait for lines of progress; return the last one."""
        for _ in range(count):
            progress = next_progress(self.rig.guest)
            now = time.monotonic()
            self.longest_silence = max(self.longest_silence, now - self._heard)
            self._heard = now
            for device, injector in self.injectors.items():
                injector.note_read(progress.events[device])
        return progress

    def _ready(self) -> list[str]:
        """Return the devices that may be killed now: of those, the ones killed least often."""
        now = time.monotonic()
        free = [
            device
            for device in DEVICES
            if device not in self._pending
            and (len(self._recent[device]) < LIMIT or now - self._recent[device][0] > LIMIT_SECONDS)
        ]
        least = min((self._killed[device] for device in free), default=0)
        return [device for device in free if self._killed[device] <= least + 1]

    def _kill(self, device: str, progress: Progress) -> None:
        """Kill a device that is in use."""
        injector = self.injectors.get(device)
        process = self.rig.cli.process(device)
        under_way = self._stop_busy(device, process.pid)
        os.kill(process.pid, signal.SIGKILL)
        now = time.monotonic()
        self._killed[device] += 1
        self._recent[device].append(now)
        self._pending[device] = Pending(
            device,
            now,
            process.restarts,
            progress.verified,
            injector.sessions if injector else 0,
            under_way,
        )

    def _stop_busy(self, device: str, pid: int) -> int:
        """Stop a process while something is under way; return how much. It is killed next."""
        if device == "serial":
            begun = self.random.randint(1, LINE_CHARACTERS // 2)
            self.rig.guest.expect(f"L[^L]{{{begun}}}")  # Somewhere in a line.
            os.kill(pid, signal.SIGSTOP)
            return 0
        injector = self.injectors.get(device)
        deadline = time.monotonic() + BUSY_SECONDS

        def under_way() -> int:
            return injector.open if injector else self._flights.count()

        while True:
            while not under_way() and time.monotonic() < deadline:
                pass
            os.kill(pid, signal.SIGSTOP)
            found = under_way()
            if found or time.monotonic() >= deadline:
                return found
            os.kill(pid, signal.SIGCONT)

    def _look(self, pending: Pending, progress: Progress) -> None:
        """Take note of a kill that is over: the guest has used the device again."""
        device = pending.device
        process = self.rig.cli.process(device)
        if process.restarts == pending.restarts:
            return
        if pending.line < 0:
            pending.line, pending.verified = progress.number, progress.verified
        if device in self.injectors:
            injector = self.injectors[device]
            over = (
                injector.sessions > pending.sessions and injector.session_delivered > AFTER_PACKETS
            )
        elif device == "vda":
            over = progress.verified >= pending.verified + AFTER_FILES
        else:
            over = progress.number > pending.line + AFTER_LINES
        if not over:
            return
        seconds = time.monotonic() - pending.began
        self.survived.append(Kill(device, seconds, pending.in_flight))
        del self._pending[device]


def table(killer: Killer) -> str:
    """Say how often each device was killed, and what the guest saw of it."""
    rows = ["device    kills  longest delay  in flight at death (of all, most at once)"]
    for device in DEVICES:
        kills = [one for one in killer.survived if one.device == device]
        longest = max((one.seconds for one in kills), default=0.0)
        flights = [one.in_flight for one in kills]
        rows.append(
            f"{device:8}  {len(kills):5}  {longest:11.2f} s  {sum(flights):9} in"
            f" {sum(map(bool, flights))} kills, most {max(flights, default=0)}"
        )
    rows.append(f"longest silence of the console: {killer.longest_silence:.2f} s")
    return "\n".join(rows)


def failed_requests(rig: Rig) -> list[str]:
    """Return the types of requests that the disk's process has failed, or does not know."""
    try:
        with open_sync_channel(rig.address("vda")) as channel:
            stats = BlockAdminServiceStub(channel).GetStats(pb.GetStatsRequest())
    except grpc.RpcError as error:
        return [str(error)]
    return [row.type for row in stats.requests if row.io_errors or row.unsupported]
