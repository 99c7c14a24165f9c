"""The scripted far end that clients are tested with, by blocking clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from virtmesh.testing.scripted_line import ScriptedLine
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.errors import ShuttingDown, from_rpc_error

SECONDS = 20.0


@pytest.fixture
def serial() -> Iterator[ScriptedLine]:
    """Serve a line."""
    with ScriptedLine() as serial:
        yield serial


@pytest.fixture
def stub(serial: ScriptedLine) -> Iterator[Any]:
    """Call it."""
    with open_sync_channel(serial.address) as channel:
        yield UartServiceStub(channel)


def opening(**start: Any) -> Iterator[pb.OpenRequest]:
    """Make the requests of a watcher."""
    yield pb.OpenRequest(start=pb.Start(watch=True, **start))


def test_machine_and_client_talk(serial: ScriptedLine, stub: Any) -> None:
    """In both directions."""
    answers = stub.Open(opening(), timeout=SECONDS)
    next(answers)
    serial.say(b"login: ")
    stub.Write(pb.WriteRequest(input=pb.Input(data=b"root")), timeout=SECONDS)
    assert next(answers).output.data == b"login: "
    assert serial.heard(4) == b"root"
    answers.cancel()


@pytest.mark.parametrize(("anew", "wanted"), [(False, b"before"), (True, b"")])
def test_a_line_that_comes_back(
    serial: ScriptedLine, stub: Any, *, anew: bool, wanted: bytes
) -> None:
    """In the same life with what it has kept, or in another with nothing."""
    serial.say(b"before")
    answers = stub.Open(opening(), timeout=SECONDS)
    epoch = next(answers).snapshot.epoch
    serial.stop()
    with pytest.raises(grpc.RpcError) as ended:
        next(answers)
    serial.start(anew=anew)
    # A channel of its own: the first may not know yet that its connection is gone.
    with open_sync_channel(serial.address) as channel:
        again = UartServiceStub(channel).Open(
            opening(offset=0, epoch=epoch), timeout=SECONDS, wait_for_ready=True
        )
        snapshot = next(again).snapshot
        again.cancel()
    assert isinstance(from_rpc_error(ended.value), ShuttingDown)
    assert (snapshot.epoch != epoch, snapshot.restarted) == (anew, anew)
    assert snapshot.output_offset == len(wanted)
