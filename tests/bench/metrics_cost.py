"""What metrics cost: counting calls and requests, and a scrape. Ratios of one interleaved run.

Usage: python tests/bench/metrics_cost.py [ROUNDS]

Calls: two servers in this process, one that counts and one that does not. Requests of a disk: one
driver, whose histogram is there or not; the device's own histogram is part of both, in native code.
The ratio is the median of the rounds' ratios; "twice without" is what the method makes of two
servers that are the same. A scrape is timed over HTTP, as Prometheus does it. Nothing is asserted:
absolute times depend on the machine.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from rich.console import Console

from tests.support.bench_table import AGAIN, WITH, WITHOUT, cost_table
from tests.support.disk_process import DiskProcess, many_at_once, one_by_one
from tests.support.prompt_services import EmptyKernel, ZeroRegisters
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.machine import DoorbellKind
from virtmesh.rpc.interceptor import KINDS, CallInterceptor, abort
from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram
from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.channel import SERVER_OPTIONS, open_channel
from virtmesh_common.errors import VirtmeshError

ROUNDS = 40
SCRAPES = 50
SIZE = 4096

Way = Callable[[], Awaitable[float]]


class Uncounted(grpc.aio.ServerInterceptor):
    """What the interceptor was before it counted: errors, and nothing else."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        name, make = KINDS[handler.request_streaming, handler.response_streaming]
        behavior = getattr(handler, name)

        async def guarded(request: Any, context: Any) -> Any:
            try:
                result = behavior(request, context)
                return await result if inspect.isawaitable(result) else result
            except VirtmeshError as error:
                await abort(context, error)

        return make(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class NoHistogram(Histogram):
    """A histogram that counts nothing."""

    def observe(self, value: float) -> None:
        """Do nothing."""


async def call_ways(folder: Path, name: str, undo: AsyncExitStack) -> dict[str, Way]:
    """Serve calls with or without counting, and return what is timed."""
    interceptor = CallInterceptor() if name == WITH else Uncounted()
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(interceptor,))
    kernel_pb2_grpc.add_KernelServiceServicer_to_server(EmptyKernel(), server)  # type: ignore[abstract]
    register_pb2_grpc.add_RegisterServiceServicer_to_server(ZeroRegisters(), server)
    server.add_insecure_port(f"unix:{folder / name}.calls")
    await server.start()
    undo.push_async_callback(server.stop, None)
    channel = await undo.enter_async_context(open_channel(f"unix:{folder / name}.calls"))
    stub: Any = kernel_pb2_grpc.KernelServiceStub(channel)
    stream = register_pb2_grpc.RegisterServiceStub(channel).Access()
    undo.callback(stream.cancel)

    async def exchange() -> None:
        await stream.write(register_pb2.AccessRequest())
        await stream.read()

    request = kernel_pb2.ListDevicesRequest()
    return {
        "unary call": partial(one_by_one, lambda: stub.ListDevices(request)),
        "message on a stream": partial(one_by_one, exchange),
    }


def disk_ways(driver: VirtIOBlk, name: str) -> dict[str, Way]:
    """Return what is timed of a disk, with its driver's histogram or without."""
    times = Histogram(LATENCY_BOUNDS) if name == WITH else NoHistogram(LATENCY_BOUNDS)
    buffer = bytearray(SIZE)

    def read() -> Awaitable[None]:
        driver.durations = times
        return driver.read_block(8, buffer)

    return {
        "read 4 KiB, depth 1": partial(one_by_one, read),
        "read 4 KiB, depth 32": partial(many_at_once, read),
    }


def scrape(address: str) -> tuple[float, int]:
    """Return the milliseconds and the samples of one page."""
    begin = time.perf_counter()
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        text = page.read()
    lines = [line for line in text.splitlines() if not line.startswith(b"#")]
    return (time.perf_counter() - begin) * 1e3, len(lines)


async def measure(
    rounds: int, scrapes: list[tuple[float, int]]
) -> dict[str, list[dict[str, float]]]:
    """Time every way in turn, round after round; then scrape the disk."""
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="virtmesh-bench-")))
        disk = DiskProcess(folder, "disk", undo, "--metrics=127.0.0.1:0")
        driver = await disk.drive(DoorbellKind.EVENTFD)
        address = await disk.metrics_address()
        sets = {
            name: await call_ways(folder, name, undo) | disk_ways(driver, name)
            for name in (WITHOUT, AGAIN, WITH)
        }
        times: dict[str, list[dict[str, float]]] = {way: [] for way in sets[WITH]}
        order = list(sets)
        for _ in range(rounds):
            order.append(order.pop(0))
            for way, rows in times.items():
                rows.append({name: await sets[name][way]() for name in order})
        scrapes.extend([await asyncio.to_thread(scrape, address) for _ in range(SCRAPES)])
        return times


def main() -> None:
    """Measure, and print the tables."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # waking another core costs more
    scrapes: list[tuple[float, int]] = []
    times = uvloop.run(measure(rounds, scrapes))
    Console().print(cost_table(times, "us"))
    spent = statistics.median(milliseconds for milliseconds, _ in scrapes)
    Console().print(f"a scrape of a disk: {spent:.2f} ms, {scrapes[-1][1]} samples")


if __name__ == "__main__":
    main()
