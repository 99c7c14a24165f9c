"""What every call goes through: counting, its identifier in the log, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import structlog

from tests.support.prompt_services import EmptyKernel, ZeroRegisters
from virtmesh.rpc.interceptor import CallInterceptor
from virtmesh.rpc.metrics import CallCounts
from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.channel import SERVER_OPTIONS, open_channel
from virtmesh_common.errors import DETAILS_LIMIT, DeviceNotFound
from virtmesh_common.request_id import REQUEST_ID_KEY

LIST = ("unary", "virtmesh.kernel.v1.KernelService", "ListDevices")
ACCESS = ("bidi_stream", "virtmesh.register.v1.RegisterService", "Access")
OTHER = ("other", "other", "other")


class Service:
    """A server with both, and a channel to it."""

    def __init__(self, channel: grpc.aio.Channel, counts: CallCounts, kernel: EmptyKernel) -> None:
        self.channel = channel
        self.counts = counts
        self.kernel = kernel

    async def list(self, **options: Any) -> None:
        """Call the kernel."""
        stub: Any = kernel_pb2_grpc.KernelServiceStub(self.channel)
        await stub.ListDevices(kernel_pb2.ListDevicesRequest(), **options)

    @property
    def samples(self) -> dict[tuple[str, ...], float]:
        """The metrics by name and labels, in the order in which they are stated."""
        return {
            (sample.name.removeprefix("grpc_server_"), *sample.labels.values()): sample.value
            for metric in self.counts.metrics()
            for sample in metric.samples
        }


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    """Serve both on a socket."""
    interceptor, kernel = CallInterceptor(), EmptyKernel()  # type: ignore[abstract]
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(interceptor,))
    kernel_pb2_grpc.add_KernelServiceServicer_to_server(kernel, server)
    register_pb2_grpc.add_RegisterServiceServicer_to_server(ZeroRegisters(), server)
    address = f"unix:{folder}/service.sock"
    server.add_insecure_port(address)
    await server.start()
    async with open_channel(address) as channel:
        yield Service(channel, interceptor.counts, kernel)
    await server.stop(None)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Give the test a server."""
    async with serving(tmp_path) as service:
        yield service


async def test_calls_are_counted_by_method_and_code(service: Service) -> None:
    """A call that fails counts with the code of its error, and takes its time as well."""
    await service.list()
    service.kernel.error = DeviceNotFound("no such device")
    with pytest.raises(grpc.aio.AioRpcError):
        await service.list()

    samples = service.samples

    assert samples["started_total", *LIST] == 2
    assert samples["handled_total", *LIST, "OK"] == 1
    assert samples["handled_total", *LIST, "NOT_FOUND"] == 1
    assert samples["handling_seconds_count", *LIST] == 2
    assert samples["msg_received_total", *LIST] == 2
    assert samples["msg_sent_total", *LIST] == 1
    assert samples["open_calls", *LIST] == 0


async def test_a_fault_of_the_service_counts_as_internal(service: Service) -> None:
    """What no class of ours says is INTERNAL here, whatever the client is told."""
    service.kernel.error = RuntimeError("a fault")

    with structlog.testing.capture_logs(), pytest.raises(grpc.aio.AioRpcError):
        await service.list()

    assert service.samples["handled_total", *LIST, "INTERNAL"] == 1


async def test_messages_of_a_stream_are_counted_while_it_is_open(service: Service) -> None:
    """A stream counts as open until it ends, and has no time of its own."""
    stub: Any = register_pb2_grpc.RegisterServiceStub(service.channel)
    stream = stub.Access()
    for _ in range(3):
        await stream.write(register_pb2.AccessRequest())
        await stream.read()
    meanwhile = service.samples
    await stream.done_writing()
    await stream.code()
    afterwards = service.samples

    assert meanwhile["open_calls", *ACCESS] == 1
    assert meanwhile["msg_received_total", *ACCESS] == 3
    assert afterwards["open_calls", *ACCESS] == 0
    assert afterwards["msg_sent_total", *ACCESS] == 3
    assert afterwards["handled_total", *ACCESS, "OK"] == 1
    assert ("handling_seconds_count", *ACCESS) not in afterwards


def test_what_clients_make_up_is_no_label() -> None:
    """Methods that no contract has share one name, however many there are."""
    counts = CallCounts()

    for number in range(1000):
        counts.of(f"/made.up.Service/Method{number}").started += 1

    started = [sample for metric in counts.metrics() for sample in metric.samples]
    assert {tuple(sample.labels.values())[:3] for sample in started} == {OTHER}
    assert next(s.value for s in started if s.name == "grpc_server_started_total") == 1000


async def test_a_call_with_an_identifier_is_logged_with_it(service: Service) -> None:
    """One line when the call ends, with its method and code."""
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await service.list(metadata=((REQUEST_ID_KEY, "backup-7"),))
        await service.list()

    assert lines == [
        {
            "event": "call",
            "log_level": "info",
            "method": "/virtmesh.kernel.v1.KernelService/ListDevices",
            "code": "OK",
            "request_id": "backup-7",
        }
    ]


async def test_a_call_that_repeats_itself_is_logged_once(service: Service) -> None:
    """Who polls does not fill the log, nor use up the lines of others; every error is logged."""
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        for request_id in ("top", "top", "top", "backup-7"):
            await service.list(metadata=((REQUEST_ID_KEY, request_id),))
        service.kernel.error = DeviceNotFound("no such device")
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError):
                await service.list(metadata=((REQUEST_ID_KEY, "backup-7"),))

    assert [(line["request_id"], line["code"]) for line in lines] == [
        ("top", "OK"),
        ("backup-7", "OK"),
        ("backup-7", "NOT_FOUND"),
        ("backup-7", "NOT_FOUND"),
    ]


async def test_a_line_of_the_log_is_no_longer_than_an_error_may_be(service: Service) -> None:
    """A client that puts a megabyte into a name does not get it into the log."""
    service.kernel.error = DeviceNotFound("x" * (1 << 20))

    with structlog.testing.capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError):
        await service.list(metadata=((REQUEST_ID_KEY, "backup-7"),))

    assert [len(line["error"]) for line in lines] == [DETAILS_LIMIT]


@pytest.mark.parametrize("hostile", ["", "a b", 'x" level="error', "x" * 65, "{}"])
async def test_what_is_no_identifier_does_not_reach_the_log(service: Service, hostile: str) -> None:
    """An identifier is short and plain, or it is ignored."""
    with structlog.testing.capture_logs() as lines:
        await service.list(metadata=((REQUEST_ID_KEY, hostile),))

    assert lines == []
