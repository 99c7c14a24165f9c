"""Reading a recorder to its end when its service does not hand over everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from virtmesh_client.channel import KernelChannel
from virtmesh_client.trace.reader import ASKS, read_traces
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.api.trace.v1 import trace_pb2_grpc as rpc
from virtmesh_common.channel import DEVICE_KEY, SERVER_OPTIONS

END = 6
"""Events that the recorder has numbered."""
Answer = Callable[[int], pb.Page]
"""What is handed over of a recorder from a number on."""


class ScriptedRecorder(rpc.TraceServiceServicer):
    """The driver's recorder of a device, which hands over what the test says."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answer: Answer = whole
        self.run_ids: dict[int, str] = {}
        """Names of its run, by how often it was asked before."""

    def Read(self, request: pb.ReadRequest, context: grpc.ServicerContext) -> pb.ReadResponse:
        """Hand a page over; of the device's side there is none."""
        on_device = DEVICE_KEY in dict(context.invocation_metadata())
        side = pb.SIDE_DEVICE if on_device else pb.SIDE_DRIVER
        source = pb.Source(device="vda", side=side, run_id="first")
        if on_device:
            return pb.ReadResponse(source=source)
        source.run_id = self.run_ids.get(len(self.asked), source.run_id)
        self.asked.append(request.from_sequence)
        return pb.ReadResponse(
            source=source,
            position=pb.Position(next_sequence=END, capacity=64),
            page=self.answer(request.from_sequence),
        )


def page(first: int, last: int, *, following: int | None = None, lost: int = 0) -> pb.Page:
    """Make a page of the events from one number up to, but without, another."""
    columns = ("kinds", "details", "queues", "tokens", "values", "extras")
    return pb.Page(
        first_sequence=first,
        lost=lost,
        next_sequence=last if following is None else following,
        times_ns=range(first + 1, last + 1),
        **{name: [1] * (last - first) for name in columns},  # type: ignore[arg-type]
    )


def whole(first: int) -> pb.Page:
    """Hand everything over."""
    return page(first, END)


@pytest.fixture
def recorder() -> ScriptedRecorder:
    """Make a recorder to script."""
    return ScriptedRecorder()  # type: ignore[abstract]


@pytest.fixture
def channel(recorder: ScriptedRecorder, tmp_path: Path) -> Iterator[KernelChannel]:
    """Serve it as a kernel would, and connect."""
    address = f"unix:{tmp_path / 's'}"
    server = grpc.server(ThreadPoolExecutor(2), options=SERVER_OPTIONS)
    rpc.add_TraceServiceServicer_to_server(recorder, server)
    server.add_insecure_port(address)
    server.start()
    with KernelChannel(address) as channel:
        yield channel
    server.stop(grace=None).wait()


def read(channel: KernelChannel) -> list[tuple[str, int, int]]:
    """Return kind, number and value of everything that is read."""
    events = read_traces(channel, ["vda"])
    return [(one.kind, one.sequence, one.value) for one in events]


def registers(*numbers: int) -> list[tuple[str, int, int]]:
    """Return what events of a page are read as."""
    return [("register_read", number, 1) for number in numbers]


def test_an_event_that_is_still_being_written_is_waited_for(
    channel: KernelChannel, recorder: ScriptedRecorder
) -> None:
    """The page before it ends there, and the next ones are empty for a moment."""
    pages = iter([page(0, 3), page(3, 3), page(3, 3), page(3, END)])
    recorder.answer = lambda _: next(pages)
    assert read(channel) == registers(0, 1, 2, 3, 4, 5)
    assert recorder.asked == [0, 3, 3, 3]


@pytest.mark.parametrize(
    "stuck",
    [lambda first: page(first, first), lambda first: page(first, END, following=first)],
    ids=["empty", "does not advance"],
)
def test_what_does_not_come_is_lost(
    channel: KernelChannel, recorder: ScriptedRecorder, stuck: Answer
) -> None:
    """It is asked for a few times, not for ever."""
    recorder.answer = lambda first: stuck(first) if first else page(0, 3)
    assert read(channel) == [*registers(0, 1, 2), ("lost", END, 3)]
    assert recorder.asked == [0, *[3] * (ASKS + 1)]


def test_what_is_overwritten_meanwhile_is_lost(
    channel: KernelChannel, recorder: ScriptedRecorder
) -> None:
    """All that is left is newer than the reading."""
    recorder.answer = lambda first: page(9, 12, lost=9 - first) if first else page(0, 3)
    assert read(channel) == [*registers(0, 1, 2), ("lost", END, 3)]


def test_what_a_service_forgot_when_it_was_restarted_is_lost(
    channel: KernelChannel, recorder: ScriptedRecorder
) -> None:
    """Its new events have the same numbers, and are others."""
    recorder.answer = lambda first: page(first, first + 3)
    recorder.run_ids = {1: "second"}
    assert read(channel) == [*registers(0, 1, 2), ("lost", END, 3)]
