"""Input devices that are killed under load: what was sent is what came, or is reported.

Environment: VIRTMESH_KILLS, the number of kills (3), and VIRTMESH_SEED, where they fall.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from tests.support.killing import pid_of, spell
from virtmesh.local.restarts import QUICK_SECONDS
from virtmesh_common.evdev import CODES, TYPES
from virtmesh_common.input.events import Event
from virtmesh_common.input.names import parse_chord
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from tests.support.cli import Cli
    from virtmesh_client import Machine

KILLS = int(os.environ.get("VIRTMESH_KILLS", "3"))
pytestmark = [pytest.mark.processes, pytest.mark.timeout(90 + 12 * KILLS)]
SEED = int(os.environ.get("VIRTMESH_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
EV_SYN, EV_KEY = TYPES["EV_SYN"], TYPES["EV_KEY"]
SYN_DROPPED = CODES["EV_SYN"]["SYN_DROPPED"]
SYN_REPORT = CODES["EV_SYN"]["SYN_REPORT"]
SENDERS = 3
KINDS = {
    "keyboard": ("leftshift", (TYPES["EV_MSC"], CODES["EV_MSC"]["MSC_SCAN"])),
    "mouse": ("btn_left", (TYPES["EV_REL"], CODES["EV_REL"]["REL_X"])),
}
"""What is held, and which event carries the numbers."""


def packet(which: tuple[int, int], number: int) -> tuple[Event, Event]:
    """Return a packet with a number."""
    return Event(*which, number), Event(EV_SYN, SYN_REPORT, 0)


class Sender(threading.Thread):
    """Sends packets with numbers of its own, and keeps their outcomes."""

    def __init__(self, machine: Machine, device: str, number: int, stop: threading.Event) -> None:
        super().__init__(name=f"sender {number}")
        self.sent = self.lost = 0
        self.longest = 0.0
        self.errors: list[BaseException] = []
        self._first = (number << 24) + 1
        self._which = KINDS[device][1]
        self._input = machine.input(device)
        self._halt = stop

    def run(self) -> None:
        """Work until told to stop."""
        try:
            with self._input as device:
                while not self._halt.is_set():
                    numbers = range(self._first + self.sent, self._first + self.sent + 8)
                    begun = time.monotonic()
                    injected = device.inject(
                        [one for number in numbers for one in packet(self._which, number)],
                        wait="delivered",
                    )
                    self.longest = max(self.longest, time.monotonic() - begun)
                    self.sent += len(numbers)
                    self.lost += injected.lost
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)


class Reader(threading.Thread):
    """Reads all events that come."""

    def __init__(self, machine: Machine, device: str) -> None:
        super().__init__(name="reader")
        self.numbers: list[int] = []
        self._which = KINDS[device][1]
        self.keys: list[Event] = []
        self.gaps = 0
        self.errors: list[BaseException] = []
        self.watch = machine.input(device).watch()

    def run(self) -> None:
        """Read until the watch is closed."""
        try:
            for received in self.watch:
                event = received.event
                if event[:2] == self._which:
                    self.numbers.append(event.value)
                elif event.type == EV_KEY:
                    self.keys.append(event)
                elif event[:2] == (EV_SYN, SYN_DROPPED):
                    self.gaps += 1
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)


def outage(machine: Machine, name: str, pid: int) -> float:
    """Kill a device; return the seconds until it answers again."""
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    machine.input(name).info()
    return time.monotonic() - begun


@pytest.mark.parametrize(("kind", "kills"), [("keyboard", KILLS), ("mouse", min(KILLS, 3))])
def test_each_packet_comes_once_although_its_device_is_killed(
    cli: Cli, kind: str, kills: int
) -> None:
    """No error, nothing lost, nothing doubled, in order; a key that is held stays held."""
    cli.up("--input", kind)
    key, code = KINDS[kind][0], parse_chord(KINDS[kind][0])[0]
    chance = random.Random(SEED)  # noqa: S311 - reproducible
    stop = threading.Event()
    outages: list[float] = []
    with virtmesh_client.connect(f"unix:{cli.run_dir}/kernel.sock") as machine:
        reader = Reader(machine, kind)
        reader.start()
        senders = [Sender(machine, kind, number, stop) for number in range(SENDERS)]
        with machine.input(kind) as holder:
            holder.press(key, wait="delivered")
            for sender in senders:
                sender.start()
            for number in range(kills):
                soon = 0.0 if number % 2 else QUICK_SECONDS
                stop.wait(soon + chance.uniform(0.05, 0.6))
                outages.append(outage(machine, kind, pid_of(cli, kind)))
            stop.set()
            for sender in senders:
                sender.join(SECONDS)
            held = machine.input(kind).info().keys_held
            holder.release(key, wait="delivered")
        sent = sum(sender.sent for sender in senders)
        lost = sum(sender.lost for sender in senders)
        stats = machine.input(kind).stats()
        eventually(lambda: len(reader.numbers) + lost >= sent)
        reader.watch.close()
        reader.join(SECONDS)
    say(
        f"seed {SEED}: {kills} kills of the {kind}, {sent} packets sent,"
        f" {len(reader.numbers)} came, {lost} reported lost,"
        f" slowest call {max(one.longest for one in senders):.3f} s,"
        f" {reader.gaps} gaps; outages in s {spell(outages)}; {stats}"
    )
    errors = [error for one in senders for error in one.errors]
    assert errors + reader.errors == []
    assert [one.name for one in senders if one.is_alive()] == []
    assert len(set(reader.numbers)) == len(reader.numbers)
    assert len(reader.numbers) + lost == sent
    for number in range(SENDERS):
        mine = [one for one in reader.numbers if one >> 24 == number]
        assert mine == sorted(mine)
    assert held == (code,)
    assert [(one.code, one.value) for one in reader.keys] == [(code, 1), (code, 0)]
    assert stats.packets_accepted == stats.packets_delivered + stats.packets_lost
    assert stats.packets_accepted == sent + 2
