"""Attacks on the services of a machine, each a process of its own.

Usage: python -m tests.bench.attackers PROCESSOR NAME TARGET...

`tests.bench.attacks` and the tests of budgets start these. An attack prints "ready" once it is
under way, and goes on until it is killed. What it is refused it asks for again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from virtmesh_common.api.kernel.v1 import block_device_pb2, block_device_pb2_grpc
from virtmesh_common.api.metrics.v1 import metrics_pb2, metrics_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.api.trace.v1 import trace_pb2, trace_pb2_grpc
from virtmesh_common.channel import DEVICE_KEY, open_channel
from virtmesh_common.request_id import REQUEST_ID_KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

PAUSE_S = 0.05
"""Pause after a refusal: an attacker that only burns its own processor attacks nobody."""
MIB = 1 << 20
names = count()


def named() -> tuple[tuple[str, str], ...]:
    """Return metadata with an identifier that no other call has: an attacker lies."""
    return ((REQUEST_ID_KEY, f"attacker-{os.getpid()}-{next(names)}"),)


def ready() -> None:
    """Tell whoever started the attack."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def on_channel(address: str) -> grpc.aio.Channel:
    """Open a channel that no other shares."""
    return open_channel(address)


async def forever(act: Callable[[], Awaitable[object]]) -> None:
    """Do it again and again, whatever the answer is."""
    while True:
        try:
            await act()
        except (grpc.aio.AioRpcError, OSError):
            await asyncio.sleep(PAUSE_S)


async def flood(acts: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Do many things at a time, for ever."""
    tasks = [asyncio.create_task(forever(act)) for act in acts]
    await asyncio.sleep(1)
    ready()
    await asyncio.gather(*tasks)


async def stalled_reads(address: str, disk: str, streams: str = "600") -> None:
    """Open streams that read the whole disk, and never take a message."""
    channels = [on_channel(address) for _ in range(8)]

    def act(number: int) -> Callable[[], Awaitable[object]]:
        stub = block_device_pb2_grpc.BlockDeviceServiceStub(channels[number % len(channels)])

        async def read() -> None:
            call = stub.Read(block_device_pb2.ReadRequest(device=disk), metadata=named())
            await call.initial_metadata()
            await call.wait_for_connection()
            await asyncio.get_running_loop().create_future() if not call.done() else None

        return read

    await flood(act(number) for number in range(int(streams)))


async def stalled_writes(address: str, disk: str, streams: str = "100") -> None:
    """Write to a disk that does not answer, as much as is taken."""
    channels = [on_channel(address) for _ in range(4)]
    data = block_device_pb2.WriteRequest(data=bytes(MIB))

    def act(number: int) -> Callable[[], Awaitable[object]]:
        stub = block_device_pb2_grpc.BlockDeviceServiceStub(channels[number % len(channels)])

        async def write() -> None:
            call = stub.Write(metadata=named())
            header = block_device_pb2.WriteHeader(device=disk, offset_bytes=0)
            await call.write(block_device_pb2.WriteRequest(header=header))
            for _ in range(16):
                await call.write(data)
            await call.code()

        return write

    await flood(act(number) for number in range(int(streams)))


async def deadlines(address: str, disk: str, at_once: str = "64") -> None:
    """Begin small reads and give each up after a millisecond."""
    stub = block_device_pb2_grpc.BlockDeviceServiceStub(on_channel(address))
    request = block_device_pb2.ReadRequest(device=disk, length_bytes=512)

    async def act() -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for _ in stub.Read(request, timeout=0.001, metadata=named()):
                pass

    await flood(act for _ in range(int(at_once)))


async def batches(address: str, streams: str = "8", accesses: str = "4096") -> None:
    """Read registers in the largest batches, without a pause."""
    stub = register_pb2_grpc.RegisterServiceStub(on_channel(address))
    size = int(accesses)
    batch = register_pb2.AccessRequest(offsets=[0] * size, ops=[4] * size, values=[0] * size)

    async def act() -> None:
        call = stub.Access(metadata=named())
        while True:
            await call.write(batch)
            await call.read()

    await flood(act for _ in range(int(streams)))


async def traces(address: str, device: str, streams: str = "1000") -> None:
    """Watch one recorder many times."""
    channels = [on_channel(address) for _ in range(8)]

    def act(number: int) -> Callable[[], Awaitable[object]]:
        stub = trace_pb2_grpc.TraceServiceStub(channels[number % len(channels)])

        async def watch() -> None:
            request = trace_pb2.WatchRequest(device=device)
            async for _ in stub.Watch(request, metadata=named()):
                pass

        return watch

    await flood(act(number) for number in range(int(streams)))


async def described(address: str, device: str = "", at_once: str = "256") -> None:
    """Ask for a page of the trace, as often as is answered."""
    stub = trace_pb2_grpc.TraceServiceStub(on_channel(address))
    request = trace_pb2.ReadRequest(device=device, limit=4096)

    async def act() -> None:
        await stub.Read(request, metadata=((DEVICE_KEY, device), *named()) if device else named())

    await flood(act for _ in range(int(at_once)))


async def half_open(address: str, connections: str = "10000") -> None:
    """Open connections and say nothing; those that are closed are opened again."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()

    async def act() -> None:
        family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setblocking(False)  # noqa: FBT003 - as socket has it
            await loop.sock_connect(one, target(address))
            await loop.sock_recv(one, 1 << 16)
            await loop.sock_recv(one, 1 << 16)
            await asyncio.sleep(PAUSE_S)

    await flood(act for _ in range(min(int(connections), hard - 64)))


async def handovers(path: str, at_once: str = "64") -> None:
    """Connect to a handover socket, send what is no packet, and begin again."""
    loop = asyncio.get_running_loop()

    async def act() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as one:
            one.setblocking(False)  # noqa: FBT003 - as socket has it
            await loop.sock_connect(one, path)
            with contextlib.suppress(OSError):
                await loop.sock_sendall(one, bytes(64 << 10))
            await loop.sock_recv(one, 1 << 16)

    await flood(act for _ in range(int(at_once)))


async def metrics(address: str, at_once: str = "256") -> None:
    """Ask for the page of metrics by HTTP, each time by a new connection."""
    loop = asyncio.get_running_loop()
    family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET

    async def act() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.setblocking(False)  # noqa: FBT003 - as socket has it
            await loop.sock_connect(one, target(address))
            await loop.sock_sendall(one, b"GET /metrics HTTP/1.1\r\nHost: machine\r\n\r\n")
            while await loop.sock_recv(one, 1 << 16):
                pass

    await flood(act for _ in range(int(at_once)))


async def collections(address: str, at_once: str = "256") -> None:
    """Ask for all metrics by gRPC, as often as is answered."""
    stub = metrics_pb2_grpc.MetricsServiceStub(on_channel(address))

    async def act() -> None:
        await stub.Collect(metrics_pb2.CollectRequest(), metadata=named())

    await flood(act for _ in range(int(at_once)))


def target(address: str) -> str | tuple[str, int]:
    """Return an address as socket has it."""
    if address.startswith("unix:"):
        return str(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    return host, int(port)


ATTACKS: dict[str, Callable[..., Awaitable[None]]] = {
    "stalled-reads": stalled_reads,
    "stalled-writes": stalled_writes,
    "deadlines": deadlines,
    "batches": batches,
    "traces": traces,
    "pages": described,
    "half-open": half_open,
    "handovers": handovers,
    "metrics": metrics,
    "collections": collections,
}


def main() -> None:
    """Run the attack that the command line names."""
    _, processor, name, *targets = sys.argv
    if int(processor) < (os.cpu_count() or 1):
        os.sched_setaffinity(0, {int(processor)})
    asyncio.run(ATTACKS[name](*targets))  # type: ignore[arg-type]  # coroutines, all


if __name__ == "__main__":
    main()
