"""The handover socket, against drivers of every kind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.handover import (
    PAGE,
    Fill,
    add_doorbell,
    add_region,
    connected,
    eventfd,
    good,
    memfd,
    open_descriptors,
    tells_semaphores,
)
from virtmesh.attach.door import PACKET_LIMIT_BYTES
from virtmesh.attach.request import DESCRIPTOR_LIMIT
from virtmesh.attach.server import HandoverServer
from virtmesh.mmio.inflight_logs import logs_size, make_logs
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import MemoryMissing

QUEUES = (64, 64)
"""Largest sizes of the queues of the device."""
LOGS = logs_size(QUEUES)
"""Bytes of its in-flight logs."""


async def test_logs_can_be_handed_over(server: HandoverServer) -> None:
    """Each queue has its part, which is not in use; only what they need is mapped."""
    with connected(server) as driver:
        answer = await driver.hand_over(partial(add_log, log=make_logs(QUEUES)))
        logs = server.find(answer.ticket).inflight_logs
        assert logs is not None
        assert [logs.of(queue).in_use for queue in (0, 1)] == [False, False]


async def test_a_device_without_queues_takes_no_logs(tmp_path: Path) -> None:
    """It has nothing to write there."""
    server = HandoverServer(tmp_path / "handover", queue_size_max=())
    server.listen()
    with connected(server) as driver:
        answer = await driver.hand_over(partial(add_log, log=make_logs(QUEUES)))
        assert answer.error_reason == "MEMORY_REFUSED"
        assert "no queues" in answer.error_message
    server.close()


async def test_a_good_handover_gets_a_ticket(server: HandoverServer) -> None:
    """Memory and doorbells can be found by the ticket, until the driver hangs up."""
    with connected(server) as driver:
        answer = await driver.hand_over(good)
        handover = server.find(answer.ticket)
        assert handover.memory is not None
        assert (handover.memory.size, sorted(handover.doorbells)) == (PAGE, [0, 1])
    await handover.gone
    with pytest.raises(MemoryMissing):
        server.find(answer.ticket)


def unsealed(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer memory that could shrink."""
    add_region(request, descriptors, memfd(seals=fcntl.F_SEAL_GROW))


def plain_file(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer a file, which is no memfd."""
    with tempfile.TemporaryFile() as file:
        file.truncate(PAGE)
        add_region(request, descriptors, os.dup(file.fileno()))


def pipe(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer a pipe, which is no memory."""
    reader, writer = os.pipe()
    os.close(writer)
    add_region(request, descriptors, reader)


def too_small(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """End the file before the region."""
    add_region(request, descriptors, memfd(), offset_bytes=PAGE)


def overflowing(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """End the region behind the last address."""
    add_region(request, descriptors, memfd(), guest_address=(1 << 64) - PAGE, size_bytes=2 * PAGE)


def unaligned(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer less than a page."""
    add_region(request, descriptors, memfd(), size_bytes=100)


def empty_region(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer nothing."""
    add_region(request, descriptors, memfd(), size_bytes=0)


def overlapping(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer two regions at one address."""
    add_region(request, descriptors, memfd())
    add_region(request, descriptors, memfd())


def descending(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer regions out of order."""
    add_region(request, descriptors, memfd(), guest_address=PAGE)
    add_region(request, descriptors, memfd(), guest_address=0)


def many_regions(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer more than eight regions."""
    for index in range(9):
        add_region(request, descriptors, memfd(), guest_address=index * PAGE)


def no_memory(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer doorbells alone."""
    add_doorbell(request, descriptors, 0, eventfd(), eventfd())


def index_beyond(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Describe a descriptor that does not come."""
    add_region(request, descriptors, memfd(), descriptor_index=5)


def one_too_many(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Send a descriptor that is not described."""
    add_region(request, descriptors, memfd())
    descriptors.append(eventfd())


def blocking_kick(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer an eventfd on which the device could wait."""
    add_region(request, descriptors, memfd())
    add_doorbell(request, descriptors, 0, eventfd(0), eventfd())


def call_is_memory(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer memory for an eventfd."""
    add_region(request, descriptors, memfd())
    add_doorbell(request, descriptors, 0, eventfd(), memfd())


def kick_is_a_semaphore(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer a doorbell that stays readable for 2^64 reads."""
    if not tells_semaphores():
        pytest.skip("this kernel does not tell which eventfds are semaphores (Linux 6.5 does)")
    add_region(request, descriptors, memfd())
    kick = os.eventfd(1 << 31, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
    add_doorbell(request, descriptors, 0, kick, eventfd())


def no_such_queue(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Ring a third queue of two."""
    add_region(request, descriptors, memfd())
    add_doorbell(request, descriptors, 2, eventfd(), eventfd())


def two_doorbells(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Give a queue two doorbells."""
    add_region(request, descriptors, memfd())
    for _ in range(2):
        add_doorbell(request, descriptors, 0, eventfd(), eventfd())


def config_call_is_memory(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer memory for an eventfd."""
    add_region(request, descriptors, memfd())
    request.config_call_index = 0


def add_log(request: pb.HandoverRequest, descriptors: list[int], log: int) -> None:
    """Offer memory and a file for the in-flight logs."""
    add_region(request, descriptors, memfd())
    request.inflight_log_index = len(descriptors)
    descriptors.append(log)


def log_unsealed(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer logs that could shrink."""
    add_log(request, descriptors, memfd(LOGS, seals=0))


def log_too_small(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer logs with a page too little."""
    add_log(request, descriptors, memfd(LOGS - PAGE))


def log_is_eventfd(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer an eventfd for the logs."""
    add_log(request, descriptors, eventfd())


def log_beyond(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Name a descriptor for the logs that did not come."""
    add_region(request, descriptors, memfd())
    request.inflight_log_index = 7


def line_is_memory(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer memory for the eventfd of the line."""
    add_region(request, descriptors, memfd())
    request.line_index = 0


def blocking_line(request: pb.HandoverRequest, descriptors: list[int]) -> None:
    """Offer an eventfd for the line on which the device could wait."""
    add_region(request, descriptors, memfd())
    request.line_index = 1
    descriptors.append(eventfd(0))


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (log_unsealed, "MEMORY_UNSEALED"),
        (log_too_small, "MEMORY_TOO_SMALL"),
        (log_is_eventfd, "MEMORY_UNSEALED"),
        (log_beyond, "MEMORY_REFUSED"),
        (unsealed, "MEMORY_UNSEALED"),
        (plain_file, "MEMORY_UNSEALED"),
        (pipe, "MEMORY_UNSEALED"),
        (too_small, "MEMORY_TOO_SMALL"),
        (overflowing, "MEMORY_REFUSED"),
        (unaligned, "MEMORY_REFUSED"),
        (empty_region, "MEMORY_REFUSED"),
        (overlapping, "MEMORY_REFUSED"),
        (descending, "MEMORY_REFUSED"),
        (many_regions, "MEMORY_REFUSED"),
        (no_memory, "MEMORY_MISSING"),
        (index_beyond, "MEMORY_REFUSED"),
        (one_too_many, "MEMORY_REFUSED"),
        (blocking_kick, "BAD_DOORBELL"),
        (call_is_memory, "BAD_DOORBELL"),
        (kick_is_a_semaphore, "BAD_DOORBELL"),
        (no_such_queue, "BAD_DOORBELL"),
        (two_doorbells, "BAD_DOORBELL"),
        (config_call_is_memory, "BAD_DOORBELL"),
        (line_is_memory, "BAD_DOORBELL"),
        (blocking_line, "BAD_DOORBELL"),
    ],
)
async def test_bad_handovers_are_refused(server: HandoverServer, fill: Fill, reason: str) -> None:
    """Each gets its reason in words, no ticket, and the end of the connection."""
    with connected(server) as driver:
        answer = await driver.hand_over(fill)
        assert (answer.error_reason, answer.ticket) == (reason, "")
        assert answer.error_message
        assert await driver.receive() == b""


@pytest.mark.parametrize(
    ("packet", "count", "reason"),
    [
        (b"x" * (PACKET_LIMIT_BYTES + 1), 0, "MESSAGE_TOO_LARGE"),
        (b"x", DESCRIPTOR_LIMIT + 1, "MESSAGE_TOO_LARGE"),
        (b"\xff\xff\xff", 3, "BAD_STREAM"),
    ],
    ids=["long packet", "many descriptors", "no message"],
)
async def test_packets_that_are_cut_off_are_refused(
    server: HandoverServer, packet: bytes, count: int, reason: str
) -> None:
    """What arrived of their descriptors is closed: the fixture counts."""
    descriptor = eventfd()
    with connected(server) as driver:
        answer = await driver.send(packet, [descriptor] * count)
        assert answer.error_reason == reason
    os.close(descriptor)


async def test_a_second_packet_ends_the_connection(server: HandoverServer) -> None:
    """The connection is unused after the request; descriptors that come are closed."""
    with connected(server) as driver:
        await driver.hand_over(good)
        descriptor = eventfd()
        socket.send_fds(driver.socket, [b"more"], [descriptor])
        os.close(descriptor)
        assert await driver.receive() == b""


async def test_a_request_of_nothing_is_refused(server: HandoverServer) -> None:
    """It has no bytes, but it is no end."""
    with connected(server) as driver:
        assert (await driver.send(b"", [])).error_reason == "MEMORY_MISSING"


async def test_who_sent_too_much_reads_its_refusal(server: HandoverServer) -> None:
    """What is unread when the device hangs up does not take the answer with it."""
    with connected(server) as driver:
        driver.socket.send(b"more")
        driver.socket.send(b"and more")
        assert pb.HandoverResponse.FromString(await driver.receive()).error_reason == "BAD_STREAM"
        assert await driver.receive() == b""


async def test_who_does_not_attach_in_time_is_disconnected(tmp_path: Path) -> None:
    """Holding a place costs a place only for a while."""
    server = HandoverServer(tmp_path / "handover", queue_size_max=(64, 64), pending_seconds=0.01)
    server.listen()
    with connected(server) as silent:
        assert await silent.receive() == b""
    server.close()


def test_garbage_is_answered_or_ended() -> None:
    """Whatever comes, the service goes on, and no descriptor is left open."""

    @settings(max_examples=50, deadline=None)
    @given(packet=st.binary(max_size=200), count=st.integers(0, 5))
    def play(packet: bytes, count: int) -> None:
        asyncio.run(send_garbage(packet, count))

    before = open_descriptors()
    play()
    # What earlier tests left can go meanwhile.
    assert open_descriptors() <= before


async def send_garbage(packet: bytes, count: int) -> None:
    """Send a packet with descriptors to a service, which then takes a good one."""
    with tempfile.TemporaryDirectory() as folder:
        server = HandoverServer(Path(folder) / "handover", queue_size_max=(64, 64))
        server.listen()
        descriptors = [memfd() for _ in range(count)]
        with connected(server) as driver:
            socket.send_fds(driver.socket, [packet], descriptors)
            await driver.receive()
        with connected(server) as driver:
            assert (await driver.hand_over(good)).ticket
        for descriptor in descriptors:
            os.close(descriptor)
        server.close()
