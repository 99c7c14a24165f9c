"""What one register read costs: bare SEQPACKET, the register channel, gRPC; one interleaved run.

Usage: python -m tests.bench.register_channel [--rounds N] [--one-core]

The bare peer is a program in C that answers a packet of the same sizes (register_channel.c, built
with the system's compiler); the same program drives the channel of a real disk service. gRPC is a
blocking client on the Access stream of another service. The columns are the medians of the
rounds, and the medians of the ratios to the bare round of the same turn. The second table is what
another client pays (GetStatus, by gRPC) while a driver reads registers without a pause, as a ratio
to the same call of a service that is idle. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from queue import SimpleQueue
from statistics import median

import uvloop
from rich.console import Console
from rich.table import Table

from tests.support.disk_process import DiskProcess
from virtmesh.attach.client import AttachConnection, AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.register.v1 import register_pb2 as pb
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.channel import SESSION_KEY, open_sync_channel

SOURCE = Path(__file__).with_suffix(".c")
CALLS = 10_000
GRPC_CALLS = 300
RAM_BYTES = 1 << 20
ASKS = 50
BARE = "bare SEQPACKET, C to C"
CHANNEL = "register channel"
IDLE = "GetStatus, the service is idle"
BUSY = "GetStatus, a driver never pauses"

Way = Callable[[], float]
"""Returns the mean nanoseconds of one register read."""


def build(folder: Path) -> Path:
    """Build the driving program."""
    program = folder / "register_channel"
    subprocess.run(["cc", "-O2", "-o", program, SOURCE], check=True)
    return program


def driving(program: Path, end: socket.socket, undo: AsyncExitStack) -> Way:
    """Start the program on its end of a connection."""
    process = subprocess.Popen(
        [program, "drive", str(end.fileno()), str(CALLS)],
        pass_fds=[end.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    undo.callback(process.wait)
    undo.callback(process.terminate)
    assert process.stdin is not None
    assert process.stdout is not None
    send, receive = process.stdin, process.stdout

    def measure() -> float:
        send.write("\n")
        send.flush()
        return float(receive.readline())

    return measure


def bare(program: Path, undo: AsyncExitStack) -> Way:
    """Measure the peer in C."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer = subprocess.Popen([program, "echo", str(far.fileno())], pass_fds=[far.fileno()])
    far.close()
    undo.callback(peer.wait)
    undo.callback(peer.terminate)
    with near:
        return driving(program, near, undo)


async def attach(disk: DiskProcess, undo: AsyncExitStack) -> tuple[AttachConnection, str]:
    """Attach to a disk. Returns the connection and the session."""
    control = DeviceServiceStub(await disk.channel())
    about = await control.Describe(device_pb2.DescribeRequest())
    eventfds = AttachmentEventfds.make(1)
    undo.callback(eventfds.close)
    ram = undo.enter_context(Ram(RAM_BYTES))
    connection = await AttachConnection.open(about.handover_socket, ram, eventfds, timeout_s=10)
    undo.callback(connection.close)
    request = device_pb2.AttachRequest(driver_name="bench", ticket=connection.ticket)
    return connection, (await control.Attach(request)).session_id


async def by_channel(
    folder: Path, program: Path, name: str, undo: AsyncExitStack, *options: str
) -> Way:
    """Measure the register channel of a service."""
    connection, _ = await attach(DiskProcess(folder, name, undo, *options), undo)
    end = connection.socket
    end.settimeout(None)
    return driving(program, end, undo)


async def by_grpc(folder: Path, undo: AsyncExitStack) -> Way:
    """Measure the Access stream of a service."""
    disk = DiskProcess(folder, "grpc", undo)
    _, session = await attach(disk, undo)
    channel = undo.enter_context(open_sync_channel(disk.address))
    requests: SimpleQueue[pb.AccessRequest | None] = SimpleQueue()
    undo.callback(requests.put, None)

    def sent() -> Iterator[pb.AccessRequest]:
        while (request := requests.get()) is not None:
            yield request

    answers = RegisterServiceStub(channel).Access(sent(), metadata=((SESSION_KEY, session),))

    def measure() -> float:
        begin = time.perf_counter_ns()
        for _ in range(GRPC_CALLS):
            requests.put(pb.AccessRequest(offsets=[0], ops=[4], values=[0]))
            next(answers)
        return (time.perf_counter_ns() - begin) / GRPC_CALLS

    return measure


def asking(address: str, undo: AsyncExitStack) -> Way:
    """Measure GetStatus of a service, whatever else it does."""
    control = DeviceServiceStub(undo.enter_context(open_sync_channel(address)))

    def measure() -> float:
        begin = time.perf_counter_ns()
        for _ in range(ASKS):
            control.GetStatus(device_pb2.GetStatusRequest())
        return (time.perf_counter_ns() - begin) / ASKS

    return measure


async def while_busy(ask: Way, drive: Way) -> float:
    """Measure a call while a driver is busy."""
    busy = asyncio.create_task(asyncio.to_thread(drive))
    figure = await asyncio.to_thread(ask)
    if busy.done():
        sys.stderr.write("the driver was done before the calls: raise CALLS\n")
    await busy
    return figure


async def measure(rounds: int) -> dict[str, list[float]]:
    """Measure every way in turns."""
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="virtmesh-bench-")))
        program = build(folder)
        ways = {
            BARE: bare(program, undo),
            CHANNEL: await by_channel(folder, program, "channel", undo),
            "register channel, no recorder": await by_channel(
                folder, program, "unrecorded", undo, "--recorder=0"
            ),
            "gRPC stream": await by_grpc(folder, undo),
        }
        ask = asking(f"unix:{folder / 'channel'}.sock", undo)
        figures: dict[str, list[float]] = {name: [] for name in (*ways, IDLE, BUSY)}
        order = list(ways)
        for _ in range(rounds):
            order.append(order.pop(0))
            for name in order:
                figures[name].append(await asyncio.to_thread(ways[name]))
            figures[IDLE].append(await asyncio.to_thread(ask))
            figures[BUSY].append(await while_busy(ask, ways[CHANNEL]))
        return figures


def table(figures: dict[str, list[float]], base: str, *names: str) -> Table:
    """Make the table of some figures, with their ratios to a base."""
    result = Table("mean of a call", "us, median", "ratio, median", title=f"ratios to: {base}")
    for name in (base, *names):
        ratios = [one / of for one, of in zip(figures[name], figures[base], strict=True)]
        result.add_row(name, f"{median(figures[name]) / 1e3:.2f}", f"{median(ratios):.2f}")
    return result


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--one-core", action="store_true", help="drivers and services on one CPU")
    options = parser.parse_args()
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = uvloop.run(measure(options.rounds))
    others = [name for name in figures if name not in {BARE, IDLE, BUSY}]
    Console().print(table(figures, BARE, *others), table(figures, IDLE, BUSY))


if __name__ == "__main__":
    main()
