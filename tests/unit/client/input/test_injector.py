"""The stream of an injector: what a call says when the device accepts, refuses, loses or dies."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

import virtmesh_client
from virtmesh_client.input.injector import UNANSWERED_MAX
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1 import input_pb2_grpc as rpc
from virtmesh_common.channel import SERVER_OPTIONS
from virtmesh_common.errors import DETAILS_KEY, DeviceLost, DeviceNotReady, to_status
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client import Input

KEYS = CODES["EV_KEY"]
SECONDS = 20.0


class ScriptedDevice(rpc.InputServiceServicer):
    """A keyboard that does with packets what the test says."""

    def __init__(self) -> None:
        self.received: list[pb.InjectRequest] = []
        self.streams = 0
        self.ended = threading.Semaphore(0)
        self.outcome = pb.OUTCOME_ACCEPTED
        self.die_after: int | None = None
        self.silent = threading.Event()
        self.got = threading.Semaphore(0)

    def GetInfo(self, request: pb.GetInfoRequest, context: object) -> pb.GetInfoResponse:
        """Be a keyboard."""
        codes = sorted({KEYS["KEY_A"], KEYS["KEY_B"], KEYS["KEY_LEFTCTRL"]})
        return pb.GetInfoResponse(
            name="scripted", ids=[6, 0, 0, 0], capabilities=[pb.Capability(type=1, codes=codes)]
        )

    def Inject(
        self, request_iterator: Iterator[pb.InjectRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.InjectResponse]:
        """Answer each packet, unless silent."""
        self.streams += 1
        try:
            for count, request in enumerate(request_iterator):
                if count == self.die_after:
                    error = DeviceLost("the device is gone")
                    details = to_status(error).SerializeToString()
                    context.set_trailing_metadata(((DETAILS_KEY, details),))
                    context.abort(error.code, error.message)
                self.received.append(request)
                self.got.release()
                if self.silent.is_set():
                    continue
                number = len(self.received)
                yield pb.InjectResponse(
                    sequence=request.sequence, outcome=self.outcome, packet=number, waiting=3
                )
                if request.report_delivered and self.outcome == pb.OUTCOME_ACCEPTED:
                    delivered = pb.OUTCOME_DELIVERED
                    yield pb.InjectResponse(
                        sequence=request.sequence, outcome=delivered, packet=number
                    )
        finally:
            self.ended.release()

    def events(self) -> list[tuple[int, int]]:
        """Return codes and values of the keys, in order."""
        return [(one.code, one.value) for row in self.received for one in row.events if one.type]


@pytest.fixture
def device() -> ScriptedDevice:
    """Make a device to script."""
    return ScriptedDevice()  # type: ignore[abstract]


@pytest.fixture
def address(device: ScriptedDevice, tmp_path: Path) -> Iterator[str]:
    """Serve it as a kernel would forward to it."""
    address = f"unix:{tmp_path / 's'}"
    server = grpc.server(ThreadPoolExecutor(8), options=SERVER_OPTIONS)
    rpc.add_InputServiceServicer_to_server(device, server)
    server.add_insecure_port(address)
    server.start()
    yield address
    server.stop(grace=None).wait()


@pytest.fixture
def keyboard(address: str) -> Iterator[Input]:
    """Open it as a keyboard."""
    with virtmesh_client.connect(address) as machine:
        yield machine.input("keyboard")


def test_a_call_says_what_became_of_its_packets(keyboard: Input) -> None:
    """Numbers ascend over calls; the device's own are told too."""
    first = keyboard.key("ctrl+a")
    assert (first.outcome, first.packets, first.events) == ("accepted", 4, 4)
    assert (first.first, first.last, first.device_packet, first.waiting) == (1, 4, 4, 3)
    second = keyboard.key("b", wait="delivered")
    assert (second.outcome, second.first, second.last) == ("delivered", 5, 6)
    assert keyboard.key("b", wait="none").outcome in {"sent", "accepted"}


def test_every_packet_ends_with_a_report(keyboard: Input, device: ScriptedDevice) -> None:
    """Also one that is raw."""
    keyboard.inject([("KEY_A", 1), ("KEY_B", 1), ("SYN_REPORT", 0), ("KEY_A", 0)])
    shapes = [[(one.type, one.code, one.value) for one in row.events] for row in device.received]
    assert shapes == [
        [(1, KEYS["KEY_A"], 1), (1, KEYS["KEY_B"], 1), (0, 0, 0)],
        [(1, KEYS["KEY_A"], 0), (0, 0, 0)],
    ]


@pytest.mark.parametrize(
    ("outcome", "name"), [(pb.OUTCOME_REFUSED, "refused"), (pb.OUTCOME_LOST, "lost")]
)
def test_what_was_refused_or_lost_is_told(
    keyboard: Input, device: ScriptedDevice, outcome: pb.Outcome.ValueType, name: str
) -> None:
    """By the outcome, and by count."""
    device.outcome = outcome
    injected = keyboard.key("a", wait="delivered")
    assert injected.outcome == name
    assert injected.refused + injected.lost == 2


def test_all_packets_are_sent_in_order_and_none_twice(
    keyboard: Input, device: ScriptedDevice
) -> None:
    """More of them than may be without an answer at one time."""
    injected = keyboard.key("a", count=2 * UNANSWERED_MAX, wait="none")
    keyboard.close()
    assert injected.packets == len(device.received) == 4 * UNANSWERED_MAX
    assert [row.sequence for row in device.received] == list(range(1, 4 * UNANSWERED_MAX + 1))
    expected = itertools.cycle([(KEYS["KEY_A"], 1), (KEYS["KEY_A"], 0)])
    assert device.events() == list(itertools.islice(expected, 4 * UNANSWERED_MAX))


def test_a_cut_says_how_far_it_came(keyboard: Input, device: ScriptedDevice) -> None:
    """So that a script can go on from there, with ascending numbers, on a new stream."""
    keyboard.key("a")
    device.die_after = 5
    with pytest.raises(DeviceLost, match="the device is gone") as caught:
        keyboard.key("b", count=10)
    facts = caught.value.metadata
    assert (facts["first"], facts["last"]) == ("3", "22")
    assert facts["accepted"] == "5"
    assert facts["unanswered"] == "6"
    assert "have no answer" in caught.value.__notes__[0]

    device.die_after = None
    assert keyboard.key("a").first == 23
    assert device.streams == 2


def test_a_cut_between_two_packets_ends_the_call(keyboard: Input, device: ScriptedDevice) -> None:
    """It does not go on with another stream: what the first one held is released."""
    device.die_after = 3
    with pytest.raises(DeviceLost) as caught:
        keyboard.key("a", count=100, interval=0.002)
    assert int(caught.value.metadata["last"]) < 200
    assert device.streams == 1


def test_a_cut_that_nobody_waited_for_is_told_by_the_next_call(
    keyboard: Input, device: ScriptedDevice
) -> None:
    """Once; nothing gets lost in silence."""
    device.die_after = 0
    keyboard.key("a", wait="none")
    assert device.ended.acquire(timeout=SECONDS)

    def go_on() -> None:
        while True:  # until the news is here
            keyboard.key("b", wait="none")

    with pytest.raises(DeviceLost):
        go_on()
    device.die_after = None
    assert keyboard.key("b").outcome == "accepted"


def test_what_the_device_does_not_have_never_reaches_it(
    keyboard: Input, device: ScriptedDevice
) -> None:
    """Nothing of the call does."""
    with pytest.raises(BadEvent, match="KEY_Q"):
        keyboard.inject([("KEY_A", 1), ("SYN_REPORT", 0), ("KEY_Q", 1)])
    with pytest.raises(BadEvent, match="KEY_Q"):
        keyboard.key("a", "q")
    assert device.received == []


def test_no_progress_within_the_timeout_is_an_error(address: str, device: ScriptedDevice) -> None:
    """The error carries the report of the packets."""
    device.silent.set()
    with virtmesh_client.connect(address) as machine:
        keyboard = machine.input("keyboard", timeout=0.05)
        with pytest.raises(DeviceNotReady, match="accepted no packet") as caught:
            keyboard.press("a")
        assert caught.value.metadata["unanswered"] == "1"


def test_a_stream_ends_with_its_injector(keyboard: Input, device: ScriptedDevice) -> None:
    """Whatever is held is the device's to release then; the next call opens another."""
    with keyboard:
        keyboard.press("a")
    assert device.ended.acquire(timeout=SECONDS)
    keyboard.press("a")
    assert device.streams == 2


async def test_a_cancelled_call_stops_and_lets_go(address: str, device: ScriptedDevice) -> None:
    """The keys that it held are released; those of other calls stay down."""
    async with await virtmesh_client.aconnect(address) as machine:
        keyboard = machine.input("keyboard")
        await keyboard.press("b")
        task = asyncio.create_task(keyboard.key("ctrl+a", hold=60))
        await asyncio.to_thread(lambda: [device.got.acquire(timeout=SECONDS) for _ in range(3)])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await keyboard.release("b")
    ctrl, a, b = (KEYS[name] for name in ("KEY_LEFTCTRL", "KEY_A", "KEY_B"))
    assert device.events() == [(b, 1), (ctrl, 1), (a, 1), (a, 0), (ctrl, 0), (b, 0)]


async def test_a_call_cancelled_while_it_waits_lets_go(
    address: str, device: ScriptedDevice
) -> None:
    """What it has sent without an answer is released too."""
    device.silent.set()
    async with await virtmesh_client.aconnect(address) as machine:
        keyboard = machine.input("keyboard")
        task = asyncio.create_task(keyboard.press("ctrl+a"))
        await asyncio.to_thread(lambda: [device.got.acquire(timeout=SECONDS) for _ in range(2)])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        got = await asyncio.to_thread(lambda: device.got.acquire(timeout=SECONDS))
        assert got, "nothing was released"
        device.silent.clear()
    ctrl, a = (KEYS[name] for name in ("KEY_LEFTCTRL", "KEY_A"))
    assert device.events()[:4] == [(ctrl, 1), (a, 1), (a, 0), (ctrl, 0)]


def test_several_threads_share_an_injector(keyboard: Input, device: ScriptedDevice) -> None:
    """Each call gets its own add_packet_report."""
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: keyboard.key("a", count=50), range(8)))
    assert sum(one.packets for one in results) == len(device.received) == 800
    assert [row.sequence for row in device.received] == list(range(1, 801))
    assert all(one.outcome == "accepted" for one in results)
