"""A kernel service that is killed at random under load, through one connection of the client.

Environment: that of tests/support/killing.py; 3 kills. With many, `-o faulthandler_timeout=0`:
Python 3.11 may crash as it shows where a dozen busy threads are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from contextlib import closing
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from tests.support.killing import SEED, Worker, Writer, kills, pid_of, spell
from virtmesh.local.restarts import QUICK_SECONDS
from virtmesh_client.input.watch import DROPPED
from virtmesh_client.serial.models import Disconnected, Gap, Output, Reconnected, Restarted
from virtmesh_client.trace.reader import follow_traces
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import say

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.support.cli import Cli
    from virtmesh_client import Machine, Received
    from virtmesh_client.serial.models import SerialEvent

KILLS = kills(3)
pytestmark = [pytest.mark.processes, pytest.mark.timeout(120 + 12 * KILLS)]


class Asker(Worker):
    """Asks what only reads, and what may be done twice."""

    def __init__(self, machine: Machine, stop: threading.Event) -> None:
        super().__init__("asker", stop)
        self._machine = machine

    def step(self) -> None:
        """Ask everything once."""
        machine, on = self._machine, self.operations % 2 == 0
        assert [one.name for one in machine.devices()] == ["serial", "vda", "keyboard"]
        assert machine.name == "virtmesh"
        assert machine.description("vda").name == "vda"
        machine.input("keyboard").set_led("numl", on)
        machine.disk("vda").info()
        machine.disk("vda").stats()
        machine.serial().info()
        machine.input("keyboard").stats()


class Typist(Worker):
    """Presses a key again and again, and keeps account of every packet."""

    def __init__(self, machine: Machine, stop: threading.Event) -> None:
        super().__init__("typist", stop)
        self._keyboard = machine.input("keyboard", timeout=SECONDS)
        self.accepted = 0
        """Packets that the device has."""
        self.unknown = 0
        """Packets of which the error said that nobody knows."""
        self.reported = 0
        """Calls that ended with such an error."""

    def step(self) -> None:
        """Press the key once: two packets."""
        try:
            self.accepted += self._keyboard.key("a").packets
        except VirtmeshError as error:
            first, last, accepted, unanswered = (
                int(error.metadata[key]) for key in ("first", "last", "accepted", "unanswered")
            )
            self.reported += 1
            self.accepted += accepted - first + 1 if accepted else 0
            self.unknown += last - unanswered + 1 if unanswered else 0

    def finish(self) -> None:
        """Let go of the keyboard."""
        self._keyboard.close()


class Reader(threading.Thread):
    """Takes the items of a stream until it is closed; what it raises is kept."""

    def __init__(self, name: str, stream: Iterator[object]) -> None:
        super().__init__(name=name, daemon=True)
        self.items: list[object] = []
        self.errors: list[BaseException] = []
        self._stream = stream

    def run(self) -> None:
        """Take them."""
        try:
            for item in self._stream:
                self.items.append(item)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)


def outage(cli: Cli, how: signal.Signals) -> float:
    """End the kernel service; return the seconds until the next one and the disk serve."""
    pid = pid_of(cli, "kernel")
    os.kill(pid, how)
    begun = time.monotonic()
    eventually(partial(other_pid, cli, "kernel", pid))
    address = f"unix:{cli.run_dir}/kernel.sock"
    while time.monotonic() - begun < SECONDS:
        with virtmesh_client.connect(address, retry_for=0) as machine:
            try:
                machine.disk("vda").read(0, 512)
            except VirtmeshError:
                time.sleep(0.005)
            else:
                return time.monotonic() - begun
    pytest.fail(f"the kernel service is not back after {SECONDS:g} s")


def check_console(events: list[SerialEvent], kept: bytes, start: int) -> int:
    """Check that output came whole and in order; returns how often the stream was cut."""
    assert not [one for one in events if isinstance(one, (Gap, Restarted))]
    outputs = [one for one in events if isinstance(one, Output)]
    assert all(one.offset + len(one.data) == after.offset for one, after in pairwise(outputs))
    assert outputs[0].offset == start
    data = b"".join(one.data for one in outputs)
    assert kept.startswith(data) or data.startswith(kept)
    return sum(isinstance(one, Disconnected) for one in events)


def check_watch(received: list[Received]) -> int:
    """Check that events come without gaps but where that is said; returns how often it is."""
    for one, after in pairwise(received):
        assert after.event == DROPPED or after.sequence - one.sequence in {0, 1}, (one, after)
    return sum(one.event == DROPPED for one in received)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_kernel_service_ended_under_load_costs_its_clients_nothing_but_time(
    cli: Cli, how: signal.Signals
) -> None:
    """What is promised never fails; what is not is reported, packet by packet.

    One that is told to stop, as for a restart on request, ends the calls of its clients itself.
    """
    cli.up("--disk", "disk.img,size=16M", "--input", "keyboard")
    chance = random.Random(SEED)  # noqa: S311 - reproducible
    stop, end_of_trace = threading.Event(), threading.Event()
    outages: list[float] = []
    with virtmesh_client.connect(f"unix:{cli.run_dir}/kernel.sock") as machine:
        keyboard, serial = machine.input("keyboard"), machine.serial()
        start = serial.position
        console = serial.watch(since=start)
        events, output = keyboard.watch(), keyboard.watch_output()
        typist = Typist(machine, stop)
        workers = [*(Writer(machine, n, stop) for n in range(3)), Asker(machine, stop), typist]
        traced = follow_traces(machine.channel, ["keyboard"], stop=end_of_trace)
        readers = {
            "console": Reader("console", console),
            "events": Reader("events", events),
            "output": Reader("output", output),
            "trace": Reader("trace", traced),
        }
        for thread in (*workers, *readers.values()):
            thread.start()
        with closing(console), closing(events), closing(output):
            try:
                for number in range(KILLS):
                    # Each second death comes soon after the one before; more would be held.
                    soon = 0.0 if number % 2 else QUICK_SECONDS
                    stop.wait(soon + chance.uniform(0.05, 0.6))
                    outages.append(outage(cli, how))
                    eventually(partial(are_back, readers, number + 1))
            finally:
                stop.set()
                for worker in workers:
                    worker.join(SECONDS)
            stats = keyboard.stats()
        end_of_trace.set()
        for reader in readers.values():
            reader.join(SECONDS)
        with machine.serial(since=start) as fresh:
            kept = fresh.read(timeout=SECONDS)
    threads: list[Worker | Reader] = [*workers, *readers.values()]
    errors = [error for thread in threads for error in thread.errors]
    hung = [thread.name for thread in threads if thread.is_alive()]
    say(
        f"seed {SEED}: {how.name} {KILLS} times; operations:"
        f" {', '.join(f'{one.name} {one.operations}' for one in workers)};"
        f" slowest {max(one.longest for one in workers):.3f} s; {len(errors)} errors,"
        f" {len(hung)} hung; packets: {typist.accepted} accepted, {typist.unknown} unknown in"
        f" {typist.reported} reports; outages in s {spell(outages)}"
    )
    assert (errors, hung) == ([], [])
    # Of what was unknown, some is done; a key that was down at the end of a stream is released.
    possible = range(
        typist.accepted, typist.accepted + typist.unknown + typist.reported + KILLS + 1
    )
    assert stats.packets_accepted in possible
    assert typist.reported <= KILLS
    cuts = (
        check_watch(readers["events"].items),  # type: ignore[arg-type]  # of this stream
        check_console(readers["console"].items, kept, start.offset),  # type: ignore[arg-type]  # as above
    )
    # One that stops may take a stream once more, and end that as well.
    assert min(cuts) >= KILLS
    assert how is signal.SIGTERM or cuts == (KILLS, KILLS)
    kinds = [one.kind for one in readers["trace"].items]  # type: ignore[attr-defined]  # as above
    assert (kinds.count("gone"), kinds.count("back")) >= (KILLS, KILLS)


def are_back(readers: dict[str, Reader], times: int) -> bool:
    """Say whether the watch of events and the console have gone on so often."""
    dropped = sum(getattr(one, "event", None) == DROPPED for one in list(readers["events"].items))
    reconnected = sum(isinstance(one, Reconnected) for one in list(readers["console"].items))
    return dropped >= times and reconnected >= times


def test_commands_that_run_or_begin_meanwhile_go_on(cli: Cli) -> None:
    """`top` and `input watch` survive; a command that begins while nobody is there waits."""
    cli.up("--disk", "disk.img,size=16M", "--input", "keyboard")
    with (
        cli.spawn("--json", "top", "--interval", "0.2") as top,
        cli.spawn("--json", "input", "watch") as watch,
    ):
        samples, events = Lines(top), Lines(watch)
        eventually(lambda: any(one["answers"] for one in samples.read))
        eventually(lambda: cli("input", "key", "a").returncode == 0 and events.read)
        # Each start that ends at once is followed by a longer pause: 1.6 s after the fifth.
        for deaths in range(1, 6):
            pid = pid_of(cli, "kernel")
            os.kill(pid, signal.SIGKILL)
            if deaths < 5:
                eventually(partial(other_pid, cli, "kernel", pid))
        begun = cli("blk", "info", "vda")
        seen = len(samples.read)
        eventually(lambda: any(one["answers"] for one in samples.read[seen:]))
        eventually(lambda: DROPPED.code_name in codes(events))
        assert cli("input", "key", "b").returncode == 0
        eventually(lambda: "KEY_B" in codes(events))
        assert (top.poll(), watch.poll()) == (None, None)

    assert (begun.returncode, begun.stderr) == (0, "")
    assert any(not one["answers"] for one in samples.read)


def codes(events: Lines) -> list[str]:
    """Return the names of the codes of events."""
    return [one["code"] for one in list(events.read)]


class Lines(threading.Thread):
    """The JSON objects that a command prints, a line for each."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.read: list[Any] = []
        self._output = process.stdout
        self.start()

    def run(self) -> None:
        """Read them."""
        for line in self._output or ():
            self.read.append(json.loads(line))


def other_pid(cli: Cli, name: str, pid: int) -> bool:
    """Say whether a service has another process now."""
    return pid_of(cli, name) != pid
