"""How long a key takes to a changed pixel, and how fast a whole screen is watched.

Usage: python -m tests.bench.screen [--rounds N] [--each N] [--seconds S]

Real processes: a keyboard, a GPU, the kernel service with its terminal on the screen, and a gRPC
server that does nothing but answer. A key is injected through the kernel service, its terminal
draws a character, and Watch of the GPU brings the pixels; beside it the same key in the kernel's
own Watch of the keyboard, and a bare gRPC call. For latency all processes share one CPU, so that
waking another one is no part of what is measured; the ways take turns in each round.

Then a driver in this process redraws all of 1280x800 as fast as it can, while Watch is read. CPU
time is that of the GPU's process. It prints tables and asserts nothing. What a guest draws, and
QEMU beside it: tests/bench/guest_screen.py.
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
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import input_latency
from tests.bench.boot import spell
from tests.bench.guest_screen import spent
from tests.bench.input_latency import ECHO, Way
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.machine import DoorbellKind
from virtmesh_common.api.display.v1 import display_pb2
from virtmesh_common.api.display.v1.display_pb2_grpc import DisplayServiceStub
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2, kernel_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.channel import DEVICE_KEY, open_channel
from virtmesh_common.evdev import code_of

WIDTH, HEIGHT = 1280, 800
MODE = f"{WIDTH}x{HEIGHT}"
MACHINE = """
[[devices]]
name = "keyboard"
kind = "input"

[[devices]]
name = "gpu0"
kind = "gpu"
"""
KEYS = tuple(code_of(name) for name in ("KEY_A", "KEY_BACKSPACE"))
"""In turn, so that the line never grows."""
KERNEL = ("-m", "virtmesh.kernel.main", "--machine")
START_SECONDS = 30.0
QUIET_SECONDS = 0.005
"""Pause after a key, in which the screen settles."""


@contextmanager
def started(*arguments: object) -> Iterator[int]:
    """Run a Python program for a while; gives its process number."""
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        try:
            yield child.pid
        finally:
            child.terminate()


def device(folder: Path, kind: str, name: str, *options: str) -> tuple[object, ...]:
    """Return the command line of a device."""
    socket = f"unix:{folder / name}.sock"
    return "-m", "virtmesh.host.main", kind, "--name", name, "--listen", socket, *options


class News:
    """A stream that is read as it comes: `counts` says which messages are news."""

    def __init__(self, call: Any, counts: Callable[[Any], bool]) -> None:
        self._call, self._counts = call, counts
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self.count = 0
        """Messages that were news."""

    async def _read(self) -> None:
        async for message in self._call:
            if self._counts(message):
                self.count += 1
                self._news.set()

    async def wait(self) -> None:
        """Wait for news, from the last `forget` on."""
        await self._news.wait()

    def forget(self) -> None:
        """Forget what has come."""
        self._news.clear()

    async def close(self) -> None:
        """Read no more."""
        self._call.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


def watch_pixels(channel: Any) -> News:
    """Watch a screen: the last message of an update with pixels is news."""
    changed = False

    def counts(message: Any) -> bool:
        nonlocal changed
        changed |= bool(message.changes)
        if not message.last:
            return False
        told, changed = changed, False
        return told

    return News(DisplayServiceStub(channel).Watch(display_pb2.WatchRequest()), counts)


class Keyboard:
    """An open Inject stream of the kernel service."""

    def __init__(self, channel: Any) -> None:
        self._stream: Any = InputServiceStub(channel).Inject(metadata=((DEVICE_KEY, "keyboard"),))
        self._sequence = 0

    async def send(self, key: tuple[int, int], value: int) -> None:
        """Send one change of a key, and do not wait for the answer."""
        self._sequence += 1
        event = pb.Event(type=key[0], code=key[1], value=value)
        await self._stream.write(pb.InjectRequest(sequence=self._sequence, events=[event]))

    async def answered(self) -> None:
        """Wait for the answer."""
        await self._stream.read()

    def close(self) -> None:
        """End the stream."""
        self._stream.cancel()


@dataclass
class Bench:
    """What is measured, with everything connected."""

    echo: Any
    keyboard: Keyboard
    events: News
    pixels: News
    presses: int = 0

    async def bare_call(self) -> int:
        """Call what does nothing."""
        start = time.perf_counter_ns()
        await self.echo(bytes(16))
        return time.perf_counter_ns() - start

    async def to_event(self) -> int:
        """Inject a key, and get it from the kernel's Watch of the keyboard."""
        return await self._press(self.events)

    async def to_pixel(self) -> int:
        """Inject a key, and get the pixels that it changed."""
        return await self._press(self.pixels)

    async def _press(self, seen: News) -> int:
        """Press a key; return how long it takes until it is seen. Release it; let all settle."""
        key = KEYS[self.presses % len(KEYS)]
        self.presses += 1
        self.pixels.forget()
        self.events.forget()
        start = time.perf_counter_ns()
        await self.keyboard.send(key, 1)
        await seen.wait()
        took = time.perf_counter_ns() - start
        await self.pixels.wait()
        await self.keyboard.answered()
        await self.keyboard.send(key, 0)
        await self.keyboard.answered()
        await asyncio.sleep(QUIET_SECONDS)
        return took


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Bench]:
    """Start the processes, and connect to all of them."""
    (folder / "machine.toml").write_text(MACHINE)
    async with AsyncExitStack() as stack:
        for command in (
            (input_latency.__file__, "--echo", f"unix:{folder / 'echo.sock'}"),
            device(folder, "input", "keyboard", "--personality", "keyboard"),
            device(folder, "gpu", "gpu0", "--mode", MODE),
            (*KERNEL, folder / "machine.toml", "--run-dir", folder),
        ):
            stack.enter_context(started(*command))
        channels = {}
        for name in ("echo", "kernel", "gpu0"):
            channel = open_channel(f"unix:{folder / name}.sock")
            channels[name] = await stack.enter_async_context(channel)
            await asyncio.wait_for(channel.channel_ready(), START_SECONDS)
        await ready(KernelServiceStub(channels["kernel"]))
        request = input_device_pb2.WatchRequest(device="keyboard")
        watch = InputDeviceServiceStub(channels["kernel"]).Watch(request)
        events = News(watch, lambda message: bool(message.events))
        pixels = watch_pixels(channels["gpu0"])
        for one in (events, pixels):
            stack.push_async_callback(one.close)
        keyboard = Keyboard(channels["kernel"])
        stack.callback(keyboard.close)
        bench = Bench(channels["echo"].unary_unary(ECHO), keyboard, events, pixels)
        async with asyncio.timeout(START_SECONDS):
            await bench.to_pixel()
        yield bench


async def ready(kernel: Any) -> None:
    """Wait until the kernel uses its devices. Errors: TimeoutError."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            found = (await kernel.ListDevices(kernel_pb2.ListDevicesRequest())).devices
            if all(one.state == kernel_pb2.PROBE_STATE_READY for one in found):
                return
            await asyncio.sleep(QUIET_SECONDS)


async def latency(rounds: int, each: int) -> dict[str, list[int]]:
    """Let the ways take turns; return what each took, in nanoseconds."""
    with tempfile.TemporaryDirectory(prefix="vm-") as folder:
        async with connected(Path(folder)) as bench:
            ways: dict[str, Way] = {
                "bare gRPC call": bench.bare_call,
                "key to Watch of the keyboard": bench.to_event,
                "key to a changed pixel": bench.to_pixel,
            }
            took: dict[str, list[int]] = {name: [] for name in ways}
            for turn in range(rounds + 1):
                for name, way in ways.items():
                    results = [await way() for _ in range(each)]
                    if turn:  # The first round warms up.
                        took[name] += results
            return took


async def redraw(rounds: int, seconds: float) -> list[dict[str, float]]:
    """Redraw a whole screen as fast as it goes; return the figures of each round."""
    with tempfile.TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        socket = f"unix:{folder / 'gpu0.sock'}"
        async with AsyncExitStack() as stack:
            command = device(folder, "gpu", "gpu0", "--mode", MODE)
            stat = Path(f"/proc/{stack.enter_context(started(*command))}/stat")
            channel = await stack.enter_async_context(open_channel(socket))
            await asyncio.wait_for(channel.channel_ready(), START_SECONDS)
            ram = stack.enter_context(Ram(16 << 20))
            bus = await GrpcBus.connect(
                socket, ram=ram, driver_name="bench", doorbell=DoorbellKind.EVENTFD
            )
            stack.push_async_callback(bus.close)
            driver = VirtIOGpu(bus)
            bus.on_interrupt(driver.handle_irq)
            await driver.start()
            stack.push_async_callback(driver.close)
            pixels = watch_pixels(channel)
            stack.push_async_callback(pixels.close)
            await pixels.wait()
            return [await one_redraw(driver, pixels, stat, seconds) for _ in range(rounds)]


async def one_redraw(
    driver: VirtIOGpu, pixels: News, stat: Path, seconds: float
) -> dict[str, float]:
    """Redraw for a while."""
    pictures = [bytes([shade]) * (WIDTH * HEIGHT * 4) for shade in (0x55, 0xAA)]
    view, flushes = driver.get_framebuffer(), 0
    frames, used, start = pixels.count, spent(stat), time.monotonic()
    while time.monotonic() < start + seconds:
        view[:] = pictures[flushes % 2]
        await driver.flush()
        flushes += 1
    took, used = time.monotonic() - start, spent(stat) - used
    frames = pixels.count - frames
    return {
        "frames a second by Watch": frames / took,
        "redraws a second": flushes / took,
        "CPU time of a redraw, ms": 1e3 * used / flushes,
        "CPU time of a second, s": used / took,
    }


def latency_table(took: Mapping[str, Sequence[int]]) -> Table:
    """Make the table of latencies."""
    columns = ("p50 us", "p99 us", "p50 ratio", "p99 ratio")
    table = Table("way", *columns, title="latency, all processes on one CPU")
    base = quantiles(next(iter(took.values())), n=100)
    for name, results in took.items():
        cut = quantiles(results, n=100)
        middle, high = cut[49], cut[98]
        ratios = (f"{middle / base[49]:.2f}", f"{high / base[98]:.2f}")
        table.add_row(name, f"{middle / 1000:,.0f}", f"{high / 1000:,.0f}", *ratios)
    return table


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=50, help="times that a way is gone in a round")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a round of redraws")
    options = parser.parse_args()
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    took = uvloop.run(latency(options.rounds, options.each))
    os.sched_setaffinity(0, processors)
    rounds = uvloop.run(redraw(options.rounds, options.seconds))
    Console().print(latency_table(took))
    title = f"{MODE} redrawn by a driver, {options.rounds} rounds: median (quartiles)"
    table = Table("what", "virtmesh", title=title)
    for name in rounds[0]:
        table.add_row(name, spell([one[name] for one in rounds]))
    Console().print(table)


if __name__ == "__main__":
    main()
