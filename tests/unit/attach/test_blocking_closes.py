"""Handovers of descriptors whose close waits: nobody else waits for it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from virtmesh_native import close_later

from tests.support.frozen_fuse import frozen_fuse
from tests.support.handover import Driver, Fill, add_doorbell, add_region, connected, good, memfd
from tests.support.lingering import SOON, Lingering, lingering_sockets
from virtmesh.attach.door import UNREAD_LIMIT
from virtmesh.attach.server import HandoverServer
from virtmesh_common.api.memory.v1 import handover_pb2 as pb


def as_memory(lingering: int) -> Fill:
    """Offer it for memory."""
    return lambda request, descriptors: add_region(request, descriptors, lingering)


def as_call(lingering: int) -> Fill:
    """Offer it for a doorbell."""

    def fill(request: pb.HandoverRequest, descriptors: list[int]) -> None:
        add_region(request, descriptors, memfd())
        add_doorbell(request, descriptors, 0, lingering, lingering)

    return fill


def as_log(lingering: int) -> Fill:
    """Offer it for the in-flight logs."""

    def fill(request: pb.HandoverRequest, descriptors: list[int]) -> None:
        add_region(request, descriptors, memfd())
        request.inflight_log_index = len(descriptors)
        descriptors.append(lingering)

    return fill


@pytest.mark.parametrize("fill", [as_memory, as_call, as_log])
@pytest.mark.parametrize("make", [Lingering.make, Lingering.nested])
async def test_a_refused_handover(
    server: HandoverServer, fill: Callable[[int], Fill], make: Callable[[Lingering], int]
) -> None:
    """It is answered, and the next driver is served, while its descriptors are closed."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        with connected(server) as driver:
            request = pb.HandoverRequest()
            descriptors: list[int] = []
            fill(make(lingering))(request, descriptors)
            socket.send_fds(driver.socket, [request.SerializeToString()], descriptors)
            for descriptor in set(descriptors):
                os.close(descriptor)
            assert pb.HandoverResponse.FromString(await driver.receive()).error_reason
            assert await driver.receive() == b""
        with connected(server) as driver:
            assert (await driver.hand_over(good)).ticket
        assert time.monotonic() - start < SOON


@pytest.mark.parametrize("fill", [as_memory, as_call, as_log])
async def test_a_file_of_a_file_system_that_does_not_answer(
    server: HandoverServer, tmp_path: Path, fill: Callable[[int], Fill]
) -> None:
    """Nothing is asked of it, and nobody waits for its close."""
    folder = tmp_path / "frozen"
    folder.mkdir()
    with frozen_fuse(folder) as frozen, connected(server) as driver:
        request = pb.HandoverRequest()
        descriptors: list[int] = []
        fill(frozen.open_frozen())(request, descriptors)
        socket.send_fds(driver.socket, [request.SerializeToString()], descriptors)
        assert pb.HandoverResponse.FromString(await driver.receive()).error_reason
        with connected(server) as other:
            assert (await other.hand_over(good)).ticket
    for descriptor in set(descriptors):
        with suppress(OSError):  # The file system is gone.
            os.close(descriptor)


async def test_packets_that_nobody_reads(server: HandoverServer) -> None:
    """More than are read before the connection is closed."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        driver = Driver(server.path)
        driver.socket.send(b"\xff\xff\xff")
        made = [lingering.make() for _ in range(UNREAD_LIMIT + 2)]
        with suppress(BlockingIOError):  # The socket is full.
            for descriptor in made:
                socket.send_fds(driver.socket, [b"more"], [descriptor])
        driver.socket.close()
        for descriptor in made:
            close_later(descriptor)  # The test would wait for those that were not sent.
        with connected(server) as other:
            assert (await other.hand_over(good)).ticket
        assert time.monotonic() - start < SOON


async def test_more_descriptors_than_a_packet_has(server: HandoverServer) -> None:
    """What the kernel drops, since there is no room for it, is closed by whoever reads."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        with connected(server) as driver:
            many = [os.eventfd(0) for _ in range(200)]
            descriptor = lingering.make()
            socket.send_fds(driver.socket, [b"x"], [*many, descriptor])
            for one in (*many, descriptor):
                os.close(one)
            assert await driver.receive()
        with connected(server) as driver:
            assert (await driver.hand_over(good)).ticket
        assert time.monotonic() - start < SOON


async def test_a_service_that_ends(server: HandoverServer) -> None:
    """Connections that wait, with packets that nobody has read, do not keep it from ending."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        driver = Driver(server.path)
        descriptor = lingering.make()
        socket.send_fds(driver.socket, [b"x"], [descriptor])
        os.close(descriptor)
        await asyncio.sleep(0)
        server.close()
        driver.socket.close()
        assert time.monotonic() - start < SOON
