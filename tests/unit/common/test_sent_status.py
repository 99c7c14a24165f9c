"""A stream that is refused while it writes ends with what its server said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from virtmesh_common.channel import open_channel
from virtmesh_common.sent_status import keep_sent_status

METHOD = "/test.Service/Stream"
STREAMS = 64
MESSAGE = bytes(32 << 10)


class Refusing(grpc.GenericRpcHandler):
    """Refuses each stream after its first message."""

    def service(self, _details: Any) -> Any:
        """Return the handler of every method."""

        async def refuse(_messages: Any, context: Any) -> None:
            await context.read()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "streams: 0")

        return grpc.stream_stream_rpc_method_handler(refuse)


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """Return a channel to a service that refuses streams."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Refusing(),))
    address = f"unix:{tmp_path}/service.sock"
    server.add_insecure_port(address)
    await server.start()
    async with open_channel(address) as channel:
        yield channel
    await server.stop(grace=None)


async def test_every_stream_learns_why_it_is_refused(channel: grpc.aio.Channel) -> None:
    """Some of them by a write that fails: gRPC's own answer to that is INTERNAL."""

    async def write(stream: Any) -> None:
        while not stream.done():
            await stream.write(MESSAGE)

    async def use() -> tuple[grpc.StatusCode, str | None]:
        stream: Any = keep_sent_status(channel.stream_stream(METHOD)())
        writing = asyncio.create_task(write(stream))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        await asyncio.gather(writing, return_exceptions=True)
        return caught.value.code(), caught.value.details()

    ends = await asyncio.gather(*(use() for _ in range(STREAMS)))

    assert set(ends) == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "streams: 0")}
