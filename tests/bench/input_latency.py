"""How long an event takes from the inject call to whoever reads it, beside a bare gRPC call.

Usage: python tests/bench/input_latency.py [--rounds N] [--each N] [--packets N]

Real processes: a mouse whose driver is in this process, a keyboard whose driver is in a kernel
service, and a gRPC server that does nothing but answer. All of them share one CPU, so that waking
another one is no part of what is measured; the ways take turns in each round, so that whatever else
the host does meets them all. It prints a table and asserts nothing.
"""

from __future__ import annotations

import argparse

import virtmesh.rpc.environment  # noqa: F401 - as in the services, before grpc is imported

# isort: split
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.input.driver import VirtIOInput
from virtmesh.machine import DoorbellKind
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2, kernel_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.channel import DEVICE_KEY, make_server, open_channel
from virtmesh_common.errors import ServiceUnavailable
from virtmesh_common.evdev import code_of

ECHO = "/bench.Echo/Call"
REL, REL_X = code_of("REL_X")
KEY, KEY_A = code_of("KEY_A")
PACKETS = (4, 64)
"""Events of a packet when throughput is measured, SYN_REPORT among them."""
MACHINE = """
[[devices]]
name = "keyboard"
kind = "input"
"""

Way = Callable[[], Awaitable[int]]
"""Does something once and returns how long it took, in nanoseconds."""


async def serve_echo(address: str) -> None:
    """Serve a call that returns what it is given, as a service of ours is served."""
    server = make_server()

    async def answer(request: bytes, _: Any) -> bytes:
        return request

    class Echo(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


@contextmanager
def process(*arguments: object) -> Iterator[None]:
    """Run a Python program for a while, its log thrown away."""
    with subprocess.Popen(
        [sys.executable, *map(str, arguments)], stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield
        finally:
            child.terminate()


def device(folder: Path, name: str) -> tuple[object, ...]:
    """Return the command line of an input device."""
    socket = f"unix:{folder / name}.sock"
    module = ("-m", "virtmesh.host.main", "input")
    return *module, "--name", name, "--listen", socket, "--personality", name


class Injector:
    """An open Inject stream. Responses are read as they come; `answered` says of which outcome."""

    def __init__(self, channel: Any, name: str, event: pb.Event) -> None:
        self._stream: Any = InputServiceStub(channel).Inject(metadata=((DEVICE_KEY, name),))
        self._event = event
        self._sequence = 0
        self._ends: asyncio.Queue[int] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    async def send(self, events: int = 1, *, report: bool = False) -> None:
        """Inject one packet."""
        self._sequence += 1
        await self._stream.write(
            pb.InjectRequest(
                sequence=self._sequence, events=[self._event] * events, report_delivered=report
            )
        )

    async def answered(self) -> int:
        """Wait for the next response; return its outcome."""
        return await self._ends.get()

    async def close(self) -> None:
        """End the stream."""
        self._stream.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        """Read responses."""
        async for response in self._stream:
            self._ends.put_nowait(response.outcome)


@dataclass
class Bench:
    """What is measured, with everything connected."""

    echo: Any
    driver: VirtIOInput
    mouse: Injector
    keyboard: Injector
    watch: Any
    seen: int = 0
    """Events that `watch` has brought."""

    async def bare_call(self) -> int:
        """Call what does nothing."""
        start = time.perf_counter_ns()
        await self.echo(bytes(16))
        return time.perf_counter_ns() - start

    async def to_read_event(self) -> int:
        """Inject, and read the event from the driver."""
        start = time.perf_counter_ns()
        await self.mouse.send()
        await self.driver.read_event()
        took = time.perf_counter_ns() - start
        await self.driver.read_event()  # SYN_REPORT
        await self.mouse.answered()
        return took

    async def to_delivered(self) -> int:
        """Inject, and be told that the driver has the packet."""
        start = time.perf_counter_ns()
        await self.mouse.send(report=True)
        while await self.mouse.answered() != pb.OUTCOME_DELIVERED:
            pass
        took = time.perf_counter_ns() - start
        for _ in range(2):
            await self.driver.read_event()
        return took

    async def to_watch(self) -> int:
        """Inject through the kernel service, and get the event from its Watch."""
        before, start = self.seen, time.perf_counter_ns()
        await self.keyboard.send()
        await self._until(before + 1)
        took = time.perf_counter_ns() - start
        await self._until(before + 2)  # SYN_REPORT
        await self.keyboard.answered()
        return took

    async def flood_driver(self, packets: int, size: int) -> float:
        """Inject as fast as it goes; return the events per second until all are read."""
        reader = self.driver.watch()
        goal = reader.sequence + packets * size
        start = time.perf_counter()
        sending = asyncio.create_task(self._send(self.mouse, packets, size))
        while reader.sequence < goal:
            await reader.read()
        took = time.perf_counter() - start
        await sending
        return packets * size / took

    async def flood_watch(self, packets: int, size: int) -> float:
        """As `flood_driver`, through the kernel service and back from it."""
        start = time.perf_counter()
        sending = asyncio.create_task(self._send(self.keyboard, packets, size))
        await self._until(self.seen + packets * size)
        took = time.perf_counter() - start
        await sending
        return packets * size / took

    async def _send(self, injector: Injector, packets: int, size: int) -> None:
        """Send packets, and wait until all are answered."""
        for _ in range(packets):
            await injector.send(size - 1)
        for _ in range(packets):
            await injector.answered()

    async def _until(self, sequence: int) -> None:
        """Read the watch until so many events have come."""
        while self.seen < sequence:
            self.seen = (await self.watch.read()).sequence


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Bench]:
    """Start the processes and connect to all of them."""
    (folder / "machine.toml").write_text(MACHINE)
    kernel = f"unix:{folder / 'kernel.sock'}"
    module = ("-m", "virtmesh.kernel.main")
    async with AsyncExitStack() as stack:
        for command in (
            (__file__, "--echo", f"unix:{folder / 'echo.sock'}"),
            device(folder, "mouse"),
            device(folder, "keyboard"),
            (*module, "--machine", folder / "machine.toml", "--run-dir", folder),
        ):
            stack.enter_context(process(*command))
        channels = {}
        for name in ("echo", "mouse", "kernel"):
            channel = open_channel(f"unix:{folder / name}.sock")
            channels[name] = await stack.enter_async_context(channel)
            await asyncio.wait_for(channel.channel_ready(), 30)
        ram = stack.enter_context(Ram(1 << 20))
        bus = await GrpcBus.connect(
            f"unix:{folder / 'mouse.sock'}",
            ram=ram,
            driver_name="bench",
            doorbell=DoorbellKind.EVENTFD,
        )
        stack.push_async_callback(bus.close)
        driver = VirtIOInput(bus)
        bus.on_interrupt(driver.handle_irq)
        await driver.start()
        stack.push_async_callback(driver.close)
        await until_ready(KernelServiceStub(channels["kernel"]), kernel)
        watch: Any = InputDeviceServiceStub(channels["kernel"]).Watch(
            input_device_pb2.WatchRequest(device="keyboard")
        )
        await watch.read()
        stack.callback(watch.cancel)
        mouse = Injector(channels["mouse"], "mouse", pb.Event(type=REL, code=REL_X, value=1))
        keyboard = Injector(channels["kernel"], "keyboard", pb.Event(type=KEY, code=KEY_A, value=2))
        stack.push_async_callback(mouse.close)
        stack.push_async_callback(keyboard.close)
        yield Bench(channels["echo"].unary_unary(ECHO), driver, mouse, keyboard, watch)


async def until_ready(kernel: Any, address: str) -> None:
    """Wait until the kernel uses its device. Errors: ServiceUnavailable."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        (one,) = (await kernel.ListDevices(kernel_pb2.ListDevicesRequest())).devices
        if one.state == kernel_pb2.PROBE_STATE_READY:
            return
    raise ServiceUnavailable(f"the kernel at {address} is not ready in time")


async def measure(bench: Bench, rounds: int, each: int) -> dict[str, list[int]]:
    """Let the ways take turns; return what each took, in nanoseconds."""
    ways: dict[str, Way] = {
        "bare gRPC call": bench.bare_call,
        "inject -> read_event": bench.to_read_event,
        "inject -> DELIVERED": bench.to_delivered,
        "inject by the kernel -> Watch": bench.to_watch,
    }
    took: dict[str, list[int]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            results = [await way() for _ in range(each)]
            if turn:  # the first round warms up
                took[name] += results
    return took


async def run(rounds: int, each: int, packets: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="vm-") as folder:
        async with connected(Path(folder)) as bench:
            took = await measure(bench, rounds, each)
            rates = [
                (
                    size,
                    await bench.flood_driver(packets, size),
                    await bench.flood_watch(packets, size),
                )
                for size in PACKETS
            ]
    console = Console()
    table = Table("way", "p50 us", "p99 us", "p50 ratio", "p99 ratio", title="latency, one CPU")
    base = quantiles(next(iter(took.values())), n=100)
    for name, results in took.items():
        cut = quantiles(results, n=100)
        p50, p99 = cut[49], cut[98]
        table.add_row(
            name,
            f"{p50 / 1000:.0f}",
            f"{p99 / 1000:.0f}",
            f"{p50 / base[49]:.2f}",
            f"{p99 / base[98]:.2f}",
        )
    console.print(table)
    speed = Table(
        "events of a packet", "to the driver", "by the kernel to Watch", title="events per second"
    )
    for size, direct, through in rates:
        speed.add_row(str(size), f"{direct:,.0f}", f"{through:,.0f}")
    console.print(speed)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=100, help="times that a way is gone in a round")
    parser.add_argument("--packets", type=int, default=5000, help="packets for the throughput")
    parser.add_argument("--echo", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo:
        uvloop.run(serve_echo(options.echo))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    uvloop.run(run(options.rounds, options.each, options.packets))


if __name__ == "__main__":
    main()
