"""The driver's end of the handover socket for tests: nothing is checked before it is sent."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from virtmesh_native import unclosed

from virtmesh.attach.door import PACKET_LIMIT_BYTES
from virtmesh.attach.server import HandoverServer
from virtmesh_common.api.memory.v1 import handover_pb2 as pb

PAGE = 4096
SEALS = fcntl.F_SEAL_SHRINK
Fill = Callable[[pb.HandoverRequest, list[int]], None]


def memfd(size: int = PAGE, seals: int = SEALS) -> int:
    """Make memory to hand over."""
    descriptor = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def add_region(
    request: pb.HandoverRequest, descriptors: list[int], descriptor: int, **fields: int
) -> None:
    """Add a region of one page, or as the fields say."""
    values = {"size_bytes": PAGE, "descriptor_index": len(descriptors)} | fields
    request.regions.add(**values)
    descriptors.append(descriptor)


def add_doorbell(
    request: pb.HandoverRequest, descriptors: list[int], queue: int, kick: int, call: int
) -> None:
    """Add a doorbell."""
    index = len(descriptors)
    request.doorbells.add(queue=queue, kick_index=index, call_index=index + 1)
    descriptors += [kick, call]


def eventfd(flags: int = os.EFD_NONBLOCK) -> int:
    """Make a doorbell."""
    return os.eventfd(0, flags)


def tells_semaphores() -> bool:
    """Say whether the kernel tells which eventfds are semaphores."""
    descriptor = eventfd()
    try:
        return "eventfd-semaphore" in Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)


def good(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer memory, two doorbells, and one for configuration changes."""
    add_region(request, descriptors, memfd())
    add_doorbell(request, descriptors, 0, eventfd(), eventfd())
    add_doorbell(request, descriptors, 1, eventfd(), eventfd())
    request.config_call_index = len(descriptors)
    descriptors.append(eventfd())


def open_descriptors() -> int:
    """Count the descriptors of this process, without those of garbage of other tests.

    Those of strangers are closed by other threads: they are awaited.
    """
    gc.collect()
    while unclosed():
        time.sleep(0)
    return len(list(Path("/proc/self/fd").iterdir()))


class Driver:
    """A driver's end of one connection, with nothing checked."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.socket.connect(str(path))

    async def receive(self) -> bytes:
        """Return the next packet, empty at the end."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self.socket, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.socket)
        return self.socket.recv(PACKET_LIMIT_BYTES)

    async def hand_over(self, fill: Fill) -> pb.HandoverResponse:
        """Send what `fill` makes; return the answer."""
        request = pb.HandoverRequest()
        descriptors: list[int] = []
        try:
            fill(request, descriptors)
            return await self.send(request.SerializeToString(), descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def send(self, packet: bytes, descriptors: list[int]) -> pb.HandoverResponse:
        """Send a packet; return the answer."""
        socket.send_fds(self.socket, [packet], descriptors)
        return pb.HandoverResponse.FromString(await self.receive())


@contextmanager
def connected(server: HandoverServer) -> Iterator[Driver]:
    """Connect for a while."""
    driver = Driver(server.path)
    try:
        yield driver
    finally:
        driver.socket.close()
