"""The server that devices and kernels share: errors, addresses, health, its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from virtmesh.rpc.own_socket import OwnSocket
from virtmesh.rpc.server import Server
from virtmesh_common.api.interrupt.v1 import interrupt_pb2 as pb
from virtmesh_common.api.interrupt.v1 import interrupt_pb2_grpc as rpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.channel import UNIX_PATH_LIMIT, open_channel
from virtmesh_common.errors import AddressTaken, DeviceAttached, VirtmeshError, from_rpc_error

SERVICE = "virtmesh.register.v1.RegisterService"


class Failing(register_pb2_grpc.RegisterServiceServicer, rpc.InterruptServiceServicer):
    """Services that fail in every way."""

    async def Read(self, request: Any, context: Any) -> register_pb2.ReadResponse:
        """Fail as a service does."""
        raise DeviceAttached("somebody has it", holder="kernel")

    async def Write(self, request: Any, context: Any) -> register_pb2.WriteResponse:
        """Fail as a service should not."""
        raise RuntimeError("a secret of the service")

    async def Access(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[register_pb2.AccessResponse]:
        """Answer once, and fail."""
        yield register_pb2.AccessResponse(values=[1])
        raise DeviceAttached("x" * 100_000)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[pb.WatchResponse]:
        """Answer for ever."""
        yield pb.WatchResponse()
        await asyncio.Event().wait()


@asynccontextmanager
async def serving(address: str) -> AsyncIterator[Server]:
    """Serve what fails, for a while."""
    server = Server([address])
    register_pb2_grpc.add_RegisterServiceServicer_to_server(Failing(), server.grpc)
    rpc.add_InterruptServiceServicer_to_server(Failing(), server.grpc)
    await server.start([SERVICE])
    yield server
    await server.stop(grace=0)


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[register_pb2_grpc.RegisterServiceAsyncStub]:
    """Call a service that fails."""
    address = f"unix:{tmp_path / 's'}"
    async with serving(address), open_channel(address) as channel:
        yield register_pb2_grpc.RegisterServiceStub(channel)


async def test_errors_keep_class_message_and_facts(
    stub: register_pb2_grpc.RegisterServiceAsyncStub,
) -> None:
    """A client catches what the service raised."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Read(register_pb2.ReadRequest())
    error = from_rpc_error(caught.value)
    assert (type(error), error.message) == (DeviceAttached, "somebody has it")
    assert error.metadata == {"holder": "kernel"}
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_faults_are_told_to_nobody(
    stub: register_pb2_grpc.RegisterServiceAsyncStub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log gets the traceback, the client only INTERNAL."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Write(register_pb2.WriteRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")
    assert type(from_rpc_error(caught.value)) is VirtmeshError
    assert "a secret of the service" in "".join(capsys.readouterr())


async def test_streams_fail_after_what_they_sent(
    stub: register_pb2_grpc.RegisterServiceAsyncStub,
) -> None:
    """The responses before the error arrive; a long message is cut to what metadata can hold."""
    stream = stub.Access()
    assert await stream.read() == register_pb2.AccessResponse(values=[1])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    error = from_rpc_error(caught.value)
    assert isinstance(error, DeviceAttached)
    assert set(error.message) == {"x"}


async def test_health_tells_that_a_service_leaves(tmp_path: Path) -> None:
    """Each service is SERVING until the end begins, then NOT_SERVING."""
    address = f"unix:{tmp_path / 's'}"
    async with serving(address) as server, open_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await server.leave()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="none"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_socket_is_for_owner_and_group_and_goes(tmp_path: Path) -> None:
    """Mode 0660 while it is there; nothing is left of it."""
    path = tmp_path / "s"
    async with serving(f"unix:{path}"):
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


async def test_what_is_not_a_socket_is_left_alone(tmp_path: Path) -> None:
    """A file that happens to be at the path is no stale socket."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(AddressTaken, match="is no socket"):
        await Server([f"unix:{path}"]).start([])
    assert path.read_text() == "data"


async def test_a_path_in_no_folder(tmp_path: Path) -> None:
    """The error names the folder to create."""
    with pytest.raises(AddressTaken, match="no such folder"):
        await Server([f"unix:{tmp_path / 'none' / 's'}"]).start([])


async def test_a_port_in_use() -> None:
    """The error names the address."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressTaken, match=str(port)):
            await Server([f"127.0.0.1:{port}"]).start([])


async def test_the_socket_of_a_successor_is_left(tmp_path: Path) -> None:
    """Another process took the path while the service went on: it keeps it."""
    path = tmp_path / "s"
    async with serving(f"unix:{path}"):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
            successor.listen()
            taken = path.lstat().st_ino
    assert path.lstat().st_ino == taken
    assert names_in(tmp_path) == ["s"]


async def test_its_own_socket_is_removed(tmp_path: Path) -> None:
    """And nothing else is left; one that is gone already is no error."""
    for is_gone in (False, True):
        async with serving(f"unix:{tmp_path / 's'}"):
            assert names_in(tmp_path) == ["s"]
            if is_gone:
                (tmp_path / "s").unlink()
        assert names_in(tmp_path) == []


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder."""
    return [one.name for one in folder.iterdir()]


def test_a_path_that_is_taken_in_the_last_moment_is_not_taken_over(tmp_path: Path) -> None:
    """Between looking and listening there is one."""
    own = OwnSocket(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as mine:
        other.bind(str(own.path))
        mine.bind(str(own.scratch))
        before = own.path.lstat().st_ino
        with pytest.raises(AddressTaken, match="since a moment ago"):
            own.publish()
        assert own.remove()
        assert own.path.lstat().st_ino == before
    assert [one.name for one in tmp_path.iterdir()] == ["s"]


def test_a_long_folder_leaves_a_shorter_name() -> None:
    """Or none: then gRPC has the path itself."""
    rooms = {}
    for room in (20, 6, 2):
        length = UNIX_PATH_LIMIT - room - 1
        own = OwnSocket(Path("/" + "x" * (length - 1)) / "s")
        rooms[room] = len(own.scratch.name)
        assert len(str(own.scratch)) <= UNIX_PATH_LIMIT
    assert rooms == {20: 9, 6: 6, 2: 1}
