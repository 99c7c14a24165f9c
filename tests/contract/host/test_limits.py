"""Limits of a device service: long work gives way, and more than may be is refused by name."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from virtmesh.host.host import Addresses, Host
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.api.trace.v1.trace_pb2_grpc import TraceServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import LimitReached, from_rpc_error
from virtmesh_common.limits import Limits
from virtmesh_common.request_id import REQUEST_ID_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACCESSES = 4096
LEAST_TURN_US = 50
TRIES = 50
SCRATCH, LINE_STATUS = 7, 5


@asynccontextmanager
async def serving(folder: Path, **limits: int) -> AsyncIterator[grpc.aio.Channel]:
    """Serve a port that nobody drives, with limits of its own; yield a channel to it."""
    address = f"unix:{folder}/port.sock"
    values = {name.replace("_", "-"): value for name, value in limits.items()}
    addresses = Addresses([address], limits=Limits.of(values))
    host = Host(UartDevice("serial", UartOptions()), addresses)
    await host.start()
    try:
        async with open_channel(address) as channel:
            yield channel
    finally:
        await host.stop()


async def refusal(call: Any) -> str:
    """Return the limit that refuses a call."""

    async def end() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end()
    error = from_rpc_error(caught.value)
    assert isinstance(error, LimitReached)
    return error.metadata["limit"]


async def test_long_batches_let_others_in_between(tmp_path: Path) -> None:
    """A read of one register is answered before a batch that was sent before it.

    On a loaded host the read may come when the batch is done: then both are sent again.
    """
    async with serving(tmp_path, turn_us=LEAST_TURN_US) as channel:
        registers = RegisterServiceStub(channel)
        stream: Any = registers.Access()
        # Two registers in turns: no run that the port does at once.
        batch = register_pb2.AccessRequest(
            offsets=[SCRATCH, LINE_STATUS] * (ACCESSES // 2),
            ops=[1] * ACCESSES,
            values=[0] * ACCESSES,
        )
        batch_was_first = True
        for _ in range(TRIES):
            await stream.write(batch)
            answer = asyncio.create_task(stream.read())
            await registers.Read(register_pb2.ReadRequest(offset=SCRATCH, width_bytes=1))
            batch_was_first = answer.done()
            assert len((await answer).values) == ACCESSES
            if not batch_was_first:
                break
        stream.cancel()

    assert not batch_was_first


async def test_so_many_watch_a_trace(tmp_path: Path) -> None:
    """One more is told which limit it has reached, and leaves the others alone."""
    async with serving(tmp_path, trace_watchers=3, trace_watchers_per_client=2) as channel:
        traces = TraceServiceStub(channel)

        def watch(name: str) -> Any:
            return traces.Watch(trace_pb2.WatchRequest(), metadata=((REQUEST_ID_KEY, name),))

        async def let_in(name: str) -> Any:
            """Watch as soon as that is allowed: a call that was cancelled counts for a while."""
            while True:
                with suppress(grpc.aio.AioRpcError):
                    one = watch(name)
                    assert (await one.read()).HasField("position")
                    return one

        watching = [await let_in("ada"), await let_in("ada")]

        assert await refusal(watch("ada")) == "trace-watchers-per-client"
        watching[0].cancel()
        watching.append(await let_in("bob"))
        for one in watching:
            one.cancel()


async def test_so_many_streams_are_open(tmp_path: Path) -> None:
    """Unary calls go on beside them."""
    async with serving(tmp_path, streams=4, streams_per_client=1) as channel:
        registers = RegisterServiceStub(channel)
        first: Any = registers.Access()
        await first.write(register_pb2.AccessRequest())
        await first.read()

        assert await refusal(registers.Access()) == "streams-per-client"
        await registers.Read(register_pb2.ReadRequest(offset=SCRATCH, width_bytes=1))
        first.cancel()
