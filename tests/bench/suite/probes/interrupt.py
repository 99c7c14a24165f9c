"""Measures how soon a Python handler is called after an eventfd was asked for.

Usage: python -m tests.bench.suite.probes.interrupt RINGER [ADDRESS]

RINGER (floors/ringer.c) runs as a process of its own, which answers one eventfd by another. With
ADDRESS the answer is the interrupt eventfd of a device that a bus has attached to, and the handler
is the bus's; without, a plain reader of the event loop drains an eventfd. A line is a number of
round trips; the answer has the mean microseconds of one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from unittest import mock

import uvloop

from tests.bench.suite.probes.lines import Figures, answer_lines
from virtmesh.attach import grpc_bus
from virtmesh.attach.client import AttachmentEventfds, make_eventfd
from virtmesh.attach.guest_ram import Ram
from virtmesh.machine import DoorbellKind

if TYPE_CHECKING:
    from pathlib import Path

RAM_BYTES = 1 << 20


class Waiter:
    """Waits for a handler to be called."""

    def __init__(self) -> None:
        self._called: asyncio.Future[None] | None = None

    def handler(self, cause: int = 0) -> None:
        """Handle an interrupt."""
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    async def round_trips(self, count: int, kick: int) -> Figures:
        """Ask for so many interrupts, one after the other."""
        loop = asyncio.get_running_loop()
        start = time.perf_counter_ns()
        for _ in range(count):
            self._called = loop.create_future()
            os.eventfd_write(kick, 1)
            await self._called
        return {"us": (time.perf_counter_ns() - start) / count / 1000}


async def attached(address: str, waiter: Waiter, undo: AsyncExitStack) -> int:
    """Attach to a device; return the interrupt eventfd of its first queue."""
    made: list[AttachmentEventfds] = []
    make = AttachmentEventfds.make

    def keep(count: int) -> AttachmentEventfds:
        made.append(make(count))
        return made[-1]

    with mock.patch.object(AttachmentEventfds, "make", keep):
        bus = await grpc_bus.GrpcBus.connect(
            address,
            ram=undo.enter_context(Ram(RAM_BYTES)),
            driver_name="bench",
            doorbell=DoorbellKind.EVENTFD,
        )
    undo.push_async_callback(bus.close)
    bus.on_interrupt(waiter.handler)
    return made[0].queues[0].call


def bare(waiter: Waiter, undo: AsyncExitStack) -> int:
    """Return an eventfd that is drained by a plain reader."""
    call = make_eventfd()
    undo.callback(os.close, call)

    def signalled() -> None:
        os.eventfd_read(call)
        waiter.handler()

    asyncio.get_running_loop().add_reader(call, signalled)
    undo.callback(asyncio.get_running_loop().remove_reader, call)
    return call


def start(ringer: Path, kick: int, call: int) -> subprocess.Popen[bytes]:
    """Start the process that answers."""
    return subprocess.Popen([ringer, str(kick), str(call)], pass_fds=[kick, call])


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop it."""
    process.kill()
    process.wait()


async def probe(ringer: Path, address: str | None) -> None:
    """Set everything up, and measure for each line."""
    async with AsyncExitStack() as undo:
        waiter = Waiter()
        call = await attached(address, waiter, undo) if address else bare(waiter, undo)
        kick = os.eventfd(0)
        undo.callback(stop, start(ringer, kick, call))
        await answer_lines(lambda line: waiter.round_trips(int(line), kick))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="interrupt")
    parser.add_argument("ringer")
    parser.add_argument("address", nargs="?")
    options = parser.parse_args()
    uvloop.run(probe(options.ringer, options.address))


if __name__ == "__main__":
    main()
