"""Input devices of real processes: many injectors, a driver that pauses, injectors that die."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from tests.support.cli import Cli, eventually, own_folder
from tests.support.input_injector import Mark, lengths
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2 as pb
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.errors import ServiceUnavailable, from_rpc_error
from virtmesh_common.evdev import code_of

pytestmark = pytest.mark.processes

EVENTS = 25_000
"""Events of each injector."""
KEY = code_of("KEY_A")[0]
REL, REL_X = code_of("REL_X")
PAUSE_MAX_S = 0.03
MACHINE = """
[[devices]]
name = "keyboard"
kind = "input"
options = {{personality = "keyboard"}}
[[devices]]
name = "mouse"
kind = "input"
options = {{personality = "mouse", queue-size = {queue_size}, waiting = 64}}
"""


@dataclass
class Inputs:
    """A machine of a keyboard and a mouse, and a channel to its kernel."""

    cli: Cli
    channel: grpc.Channel

    @contextmanager
    def device(self, name: str) -> Iterator[Any]:
        """Connect to a device's InputService, past the kernel."""
        with open_sync_channel(self.own_address(name)) as channel:
            yield InputServiceStub(channel)

    def stats(self, name: str) -> input_pb2.GetStatsResponse:
        """Return the counters of a device."""
        with self.device(name) as device:
            stats: input_pb2.GetStatsResponse = device.GetStats(input_pb2.GetStatsRequest())
        return stats

    def own_address(self, name: str) -> str:
        """Return where a device listens itself."""
        return f"unix:{self.cli.run_dir / name}.sock"

    @contextmanager
    def watch(self, name: str) -> Iterator[Any]:
        """Watch a device, from the snapshot on."""
        stream: Any = InputDeviceServiceStub(self.channel).Watch(pb.WatchRequest(device=name))
        assert next(stream).sequence == 0
        try:
            yield stream
        finally:
            stream.cancel()

    @contextmanager
    def injector(self, action: str, address: str, *arguments: object) -> Iterator[Any]:
        """Run an injector process."""
        module = "tests.support.input_injector"
        with subprocess.Popen(
            [sys.executable, "-m", module, action, address, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def pauses(self, name: str) -> Iterator[list[int]]:
        """Stop a process at random for moments; the list grows with each."""
        chance = random.Random(7)  # noqa: S311 - a test's chance is to be the same each time
        over, count = threading.Event(), list[int]()
        pid = self.cli.process(name).pid

        def run() -> None:
            while not over.wait(chance.uniform(0, PAUSE_MAX_S)):
                os.kill(pid, signal.SIGSTOP)
                over.wait(chance.uniform(0, PAUSE_MAX_S))
                os.kill(pid, signal.SIGCONT)
                count.append(1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield count
        finally:
            over.set()
            thread.join()


@pytest.fixture
def queue_size() -> int:
    """Return the size of the mouse's queues."""
    return 64


@pytest.fixture
def inputs(queue_size: int) -> Iterator[Inputs]:
    """Start the machine."""
    with own_folder() as cli:
        file = cli.folder / "machine.toml"
        file.write_text(MACHINE.format(queue_size=queue_size))
        cli.up(file)
        with open_sync_channel(cli.state.address) as channel:
            yield Inputs(cli, channel)


def take(stream: Any, count: int) -> list[int]:
    """Take so many events of a watch."""
    events: list[int] = []
    while len(events) < count:
        response = next(stream)
        events += response.events
        assert response.sequence == len(events)
    assert len(events) == count
    return events


def check_packets(events: Sequence[int], numbers: Sequence[int]) -> None:
    """Check that the packets of all injectors are there, whole, each one's in order."""
    expected = {number: enumerate(lengths(number, EVENTS), start=1) for number in numbers}
    start = 0
    while start < len(events):
        first = Mark.decode(events[start] & 0xFFFF_FFFF)
        packet, length = next(expected[first.number])
        marks = [Mark(first.number, packet, place).encode() for place in range(length)]
        assert events[start : start + length + 1] == [
            *(REL << 48 | REL_X << 32 | mark for mark in marks),
            0,
        ]
        start += length + 1
    assert not any(list(rest) for rest in expected.values())


@pytest.mark.parametrize("queue_size", [64, 4])
def test_a_hundred_thousand_events_arrive(inputs: Inputs, queue_size: int) -> None:
    """Four injectors, two past a kernel that stands still at random: nothing is lost or torn."""
    kernel, mouse = inputs.cli.state.address, inputs.own_address("mouse")
    packets = [len(list(lengths(number, EVENTS))) for number in range(4)]
    total = 4 * EVENTS + sum(packets)

    with inputs.watch("mouse") as stream, inputs.pauses("kernel") as pauses, ExitStack() as stack:
        injectors = [
            stack.enter_context(inputs.injector("stream", address, "mouse", number, EVENTS))
            for number, address in enumerate([kernel, mouse, kernel, mouse])
        ]
        events = take(stream, total)
        outcomes = [json.loads(injector.communicate()[0]) for injector in injectors]

    check_packets(events, range(4))
    stats = inputs.stats("mouse")
    assert outcomes == [
        {"OUTCOME_ACCEPTED": count, "OUTCOME_DELIVERED": count} for count in packets
    ]
    assert stats.packets_accepted == stats.packets_delivered == sum(packets)
    assert stats.events_accepted == stats.events_delivered == total
    assert (stats.packets_lost, stats.packets_refused, stats.packets_waiting) == (0, 0, 0)
    assert bool(stats.packets_split) == (queue_size == 4)
    assert len(pauses) > 10


@pytest.mark.parametrize("through_kernel", [True, False])
def test_a_killed_injector_lets_go_of_its_keys(inputs: Inputs, *, through_kernel: bool) -> None:
    """Three keys held by a process that is killed: the driver sees them released, in one packet."""
    names = ["KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE"]
    keys = [code_of(name)[1] for name in names]
    address = inputs.cli.state.address if through_kernel else inputs.own_address("keyboard")

    with (
        inputs.watch("keyboard") as stream,
        inputs.injector("hold", address, "keyboard", *names) as injector,
    ):
        assert injector.stdout.readline() == "held\n"
        injector.kill()
        events = take(stream, 10)

    presses = [event for key in keys for event in (KEY << 48 | key << 32 | 1, 0)]
    releases = [KEY << 48 | key << 32 for key in reversed(keys)]
    assert events == [*presses, *releases, 0]


def test_a_killed_kernel_costs_no_packet_that_waits(inputs: Inputs) -> None:
    """Keys pressed while no driver is there go to the next one, in order."""
    kernel = inputs.cli.process("kernel").pid
    with inputs.watch("keyboard") as stream:
        os.kill(kernel, signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
    assert isinstance(from_rpc_error(caught.value), ServiceUnavailable)
    keys = [
        input_pb2.InjectRequest(
            sequence=number,
            report_delivered=True,
            events=[input_pb2.Event(type=KEY, code=code_of("KEY_A")[1], value=number % 2)],
        )
        for number in range(1, 101)
    ]

    with inputs.device("keyboard") as keyboard:
        outcomes = [answer.outcome for answer in keyboard.Inject(iter(keys))]

    # The supervisor has started another kernel: it is the only one who can have taken them.
    assert (
        sorted(outcomes) == [input_pb2.OUTCOME_ACCEPTED] * 100 + [input_pb2.OUTCOME_DELIVERED] * 100
    )
    eventually(lambda: inputs.cli.process("kernel").pid != kernel)
    stats = inputs.stats("keyboard")
    assert (stats.packets_delivered, stats.packets_lost) == (100, 0)
