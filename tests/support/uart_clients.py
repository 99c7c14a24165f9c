"""Clients of UartService over gRPC, as plain as they can be: what a test says and reads.

async with serving_desk(folder, scrollback_bytes) as desk:
    terminal = await desk.open(watch=True)
    desk.line.say(b"hello")
    assert await terminal.output(5) == b"hello"
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from virtmesh_common.channel import CHANNEL_OPTIONS, open_channel

import grpc.aio  # isort: skip

from virtmesh.testing.memory_line import MemoryLine
from virtmesh.testing.scripted_line import ScriptedSerial, serving_device
from virtmesh.uart.line.far_end import FarEnd
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import VirtmeshError, from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from virtmesh.uart.service import UartService


@dataclass
class Terminal:
    """An open stream. `offset` is that of the next byte of output."""

    call: Any
    snapshot: pb.Snapshot = field(default_factory=pb.Snapshot)

    def __post_init__(self) -> None:
        self.offset = self.snapshot.offset

    @classmethod
    async def open(cls, stub: Any, **start: Any) -> Terminal:
        """Open a stream, and take its snapshot."""
        call = stub.Open()
        await call.write(pb.OpenRequest(start=pb.Start(**start)))
        answer = await call.read()
        if answer.WhichOneof("response") != "snapshot":
            raise AssertionError(f"not a snapshot: {answer}")
        return cls(call, answer.snapshot)

    async def send(self, data: bytes = b"", **fields: Any) -> None:
        """Send input."""
        await self.call.write(pb.OpenRequest(input=pb.Input(data=data, **fields)))

    async def next(self, kind: str) -> Any:
        """Return the next response of a kind; others are dropped."""
        async for answer in read_all(self.call):
            if answer.WhichOneof("response") == kind:
                return getattr(answer, kind)
        raise AssertionError(f"the stream ended without {kind}")

    async def output(self, count: int) -> bytes:
        """Read so much output."""
        return b"".join([data async for data in self.pieces(count)])

    async def pieces(self, count: int) -> AsyncIterator[bytes]:
        """Read messages with so much output together."""
        end = self.offset + count
        while self.offset < end:
            yield self._piece(await self.next("output"))

    async def taken(self, characters: int) -> pb.Taken:
        """Wait until so many characters have left the line."""
        taken = pb.Taken()
        while taken.characters < characters:
            taken = await self.next("taken")
        return taken

    async def error(self) -> VirtmeshError:
        """Read to the end, which must be an error, and return that."""
        return (await self.error_and_rest())[0]

    async def error_and_rest(self) -> tuple[VirtmeshError, bytes]:
        """Read to the end, which must be an error; return that, and the output before it."""
        rest = bytearray()
        try:
            async for answer in read_all(self.call):
                if answer.WhichOneof("response") == "output":
                    rest += self._piece(answer.output)
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure), bytes(rest)
        raise AssertionError("the stream ended without an error")

    def _piece(self, output: pb.Output) -> bytes:
        """Take a message of output, which must follow the last."""
        if output.offset != self.offset or not output.data:
            raise AssertionError(f"{len(output.data)} bytes at {output.offset}, not {self.offset}")
        self.offset += len(output.data)
        return output.data


async def read_all(call: Any) -> AsyncIterator[pb.OpenResponse]:
    """Read a stream to its end."""
    while (answer := await call.read()) is not grpc.aio.EOF:
        yield answer


@dataclass
class Client:
    """A client of one line."""

    stub: Any
    """A stub of UartService."""
    address: str

    @asynccontextmanager
    async def lazy(self) -> AsyncIterator[Terminal]:
        """Open a watcher that takes little before it is read: gRPC's window does not grow."""
        options = (*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0))
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield await Terminal.open(UartServiceStub(channel), watch=True)

    async def open(self, **start: Any) -> Terminal:
        """Open a stream, and take its snapshot."""
        return await Terminal.open(self.stub, **start)

    async def until_watched_by(self, count: int) -> None:
        """Wait until so many watch."""
        while (await self.info()).watchers != count:
            pass

    async def info(self) -> pb.GetInfoResponse:
        """Return what GetInfo says."""
        answer: pb.GetInfoResponse = await self.stub.GetInfo(pb.GetInfoRequest())
        return answer

    async def stats(self) -> pb.GetStatsResponse:
        """Return the counters."""
        answer: pb.GetStatsResponse = await self.stub.GetStats(pb.GetStatsRequest())
        return answer


@dataclass
class LineClients(Client):
    """A client of a line without a device, and what serves it."""

    line: MemoryLine
    far_end: FarEnd
    service: UartService


@asynccontextmanager
async def serving_desk(folder: Path, scrollback_bytes: int) -> AsyncIterator[LineClients]:
    """Serve a line in this event loop for a while."""
    address = f"unix:{folder / 's'}"
    line = MemoryLine()
    device = ScriptedSerial(line, FarEnd(line, scrollback_bytes))
    async with serving_device(device, address) as service, open_channel(address) as channel:
        yield LineClients(UartServiceStub(channel), address, line, device.far_end, service)
