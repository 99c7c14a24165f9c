"""The books of a round: what clients, devices and the kernel service counted must agree.

They are balanced while all clients rest. A device whose process or driver was ended in the round
(or whose kernel service was) has begun new counters: of it only what was received is judged.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.soak.expectations import AWAY, BREAKING, LINE_ERRORS
from tests.soak.machine import lives
from tests.soak.plan import DEVICES, DISKS
from virtmesh_client.metrics_page import samples_of
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.soak.actors.actor import World
    from tests.soak.actors.injector import Injector
    from tests.soak.actors.reader import Reader
    from tests.soak.actors.talker import Talker
    from tests.soak.actors.viewer import Viewer
    from tests.soak.actors.writer import Writer
    from tests.soak.machine import Life
    from virtmesh_client import Machine

KINDS_OF_REQUESTS = ("IN", "OUT", "FLUSH", "DISCARD", "WRITE_ZEROES")
SETTLE_SECONDS = 20.0
"""How long what is under way may take to arrive where it is counted."""


@dataclass(frozen=True)
class Staff:
    """The actors whose accounts are balanced."""

    writers: list[Writer]
    injectors: list[Injector]
    talker: Talker
    reader: Reader
    viewer: Viewer


@dataclass(frozen=True)
class Counts:
    """What was counted up to one time."""

    lives: dict[str, Life]
    device: dict[tuple[str, str], float]
    """What the devices say, by device and counter."""
    kernel: dict[tuple[str, str], float]
    """What the kernel service says."""


@dataclass
class Books:
    """Opens and closes the accounts of each round."""

    world: World
    machine: Machine
    staff: Staff
    balanced: Counter[str] = field(default_factory=Counter)
    """Comparisons that were made, by what was compared."""
    _before: Counts | None = None
    _begin: float = 0.0

    def open(self) -> None:
        """Begin a round, while all rest."""
        for writer in self.staff.writers:
            writer.account.clear()
        for injector in self.staff.injectors:
            injector.new_account()
        self.staff.talker.sent = 0
        self.staff.reader.bytes = 0
        with self.world.lock:
            self.world.injected.clear()
        self._begin = self.world.journal.now()
        self._before = read_counts(self.world, self.machine)

    def close(self, hits: Mapping[tuple[str, str], int]) -> None:
        """Balance the round, while all rest. `hits` are those of faults, by device and kind."""
        before = self._before
        if before is None:
            return
        now = self.world.journal.now()
        felt = {
            device: {
                one.kind
                for one in self.world.journal.felt(device, self._begin, now)
                if one.device == device or one.kind in AWAY
            }
            for device in DEVICES
        }
        whole = {device for device in DEVICES if not felt[device] & BREAKING}
        self._screen()
        for injector in self.staff.injectors:
            self._input(before, injector, hits, exactly=injector.device in whole)
        for disk in whole.intersection(DISKS):
            self._disk(before, disk, hits)
        if "serial" in whole and not felt["serial"] & LINE_ERRORS:
            self._serial(before)
        self._both_sides(before, whole - {"serial", *(one.device for one in self.staff.injectors)})

    def _since(self, before: Counts) -> Counts:
        """Return what was counted since then."""
        now = read_counts(self.world, self.machine)
        return Counts(
            now.lives,
            {key: value - before.device.get(key, 0.0) for key, value in now.device.items()},
            {key: value - before.kernel.get(key, 0.0) for key, value in now.kernel.items()},
        )

    def _of_device(self, before: Counts, device: str, counter: str) -> Callable[[], float]:
        """Return what tells how much a device has counted since then."""
        return lambda: self._since(before).device[device, counter]

    def _of_kernel(self, before: Counts, device: str, counter: str) -> Callable[[], float]:
        """Return what tells how much the kernel service has counted since then."""
        return lambda: self._since(before).kernel[device, counter]

    def _agree(self, what: str, left: Callable[[], float], right: Callable[[], float]) -> None:
        """Wait until two counts agree: what is under way may be counted here and not yet there."""
        self.balanced[what] += 1
        if not eventually(lambda: left() == right(), SETTLE_SECONDS):
            self.world.journal.violate("books", f"{what}: {left():g} and {right():g}")

    def _both_sides(self, before: Counts, devices: Iterable[str]) -> None:
        """Compare the requests that devices and their drivers completed."""
        for name in sorted(devices):
            self._agree(
                f"requests that {name} and its driver completed",
                self._of_device(before, name, "requests"),
                self._of_kernel(before, name, "requests"),
            )

    def _disk(self, before: Counts, disk: str, hits: Mapping[tuple[str, str], int]) -> None:
        """Compare what clients did with what a disk says, and errors with ordered faults."""
        told = sum(count for (device, *_), count in self.world.injected.items() if device == disk)
        ordered = hits.get((disk, "io-error"), 0)
        if disk == "vdb":  # the copier's calls have several requests: one error may be of many
            self.balanced["errors of vdb that clients were told of, and those ordered"] += 1
            if told > ordered:
                self.world.journal.violate("books", f"{told} errors of vdb, {ordered} were ordered")
            return
        what = f"errors of {disk} that clients were told of, and those ordered"
        self._agree(what, lambda: told, lambda: ordered)
        account: Counter[str] = Counter()
        for writer in self.staff.writers:
            if writer.device == disk:
                account.update(writer.account)
        for kind in KINDS_OF_REQUESTS:
            self._agree(
                f"{kind} of {disk}, of clients and of the disk",
                functools.partial(account.__getitem__, kind),
                self._of_device(before, disk, kind),
            )

    def _input(
        self,
        before: Counts,
        injector: Injector,
        hits: Mapping[tuple[str, str], int],
        *,
        exactly: bool,
    ) -> None:
        """Compare what was injected with what was received."""
        if not exactly:
            return
        name, account = injector.device, injector.account
        lost = account.outcomes["lost"]
        self._agree(
            f"packets of {name} that were lost, and those dropped",
            lambda: lost,
            lambda: hits.get((name, "dropped-packet"), 0),
        )
        if account.outcomes["unknown"] or account.outcomes["refused"]:
            self.world.journal.violate(
                "books", f"{name} was left in peace, and its packets ended as {account.outcomes}"
            )
        doubled = hits.get((name, "doubled-packet"), 0)
        sent = len(account.delivered) + account.outcomes["among"]
        if not injector.is_watching:
            return
        self._agree(
            f"packets of {name} that were delivered, and those received",
            lambda: sent + doubled,
            lambda: len(account.received),
        )
        if not (lost or doubled or hits.get((name, "swapped-packet"))):
            self.balanced[f"packets of {name}, one by one, in order"] += 1
            if account.received != account.delivered:
                at = first_difference(account.received, account.delivered)
                self.world.journal.violate(
                    "books", f"packet {at} that {name} received is not the one that was sent"
                )
        self._agree(
            f"events that {name} delivered, and those of its driver",
            self._of_device(before, name, "events_delivered"),
            self._of_kernel(before, name, "virtmesh_kernel_input_events_total"),
        )

    def _serial(self, before: Counts) -> None:
        """Compare characters, both ways."""
        for what, mine, device, kernel in (
            ("input", lambda: self.staff.talker.sent, "received", "received_bytes"),
            ("output", lambda: self.staff.reader.bytes, "transmitted", "sent_bytes"),
        ):
            of_port = self._of_device(before, "serial", device)
            of_driver = self._of_kernel(before, "serial", f"virtmesh_kernel_serial_{kernel}_total")
            self._agree(f"{what} of the serial line, of clients and of the port", mine, of_port)
            self._agree(
                f"{what} of the serial line, of the port and of its driver", of_port, of_driver
            )

    def _screen(self) -> None:
        """Compare the picture that was put together from changes with the whole one."""
        if not self.staff.viewer.is_watching:
            return
        self.balanced["the screen, and the sum of its changes"] += 1

        def same() -> bool:
            try:
                now = self.machine.screen("gpu").pixels()
            except VirtmeshError:
                return False
            return self.staff.viewer.shows(now.width, now.height, now.data)

        if not eventually(same, SETTLE_SECONDS) and self.staff.viewer.is_watching:
            self.world.journal.violate("books", "the screen is not what its changes add up to")


def read_counts(world: World, machine: Machine) -> Counts:
    """Ask everybody. Errors: VirtmeshError."""
    device: dict[tuple[str, str], float] = {}
    for name in DISKS:
        stats = machine.disk(name).stats()
        device[name, "requests"] = stats.device.requests
        for row in stats.requests:
            kind = row.type
            device[name, kind] = row.ok if kind == "FLUSH" else row.bytes
    for name in ("keyboard", "mouse", "tablet"):
        found = machine.input(name).stats()
        device[name, "events_delivered"] = found.events_delivered
    line = machine.serial("serial").stats()
    device["serial", "received"] = line.received
    device["serial", "transmitted"] = line.transmitted
    kernel: dict[tuple[str, str], float] = {
        (one.name, "requests"): float(one.requests) for one in machine.devices()
    }
    for sample in samples_of(machine.metrics()):
        labels = sample["labels"]
        if sample["name"] == "virtmesh_requests_total" and labels.get("device") == "gpu":
            device["gpu", "requests"] = float(sample["value"])
        if str(sample["name"]).startswith("virtmesh_kernel_") and "device" in labels:
            kernel[labels["device"], sample["name"]] = float(sample["value"])
    return Counts(lives(world.cli), device, kernel)


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Check a condition until it is true, or the time is over; return whether it was."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def first_difference(left: list[tuple[str, ...]], right: list[tuple[str, ...]]) -> int:
    """Return where two lists begin to differ."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))
