"""Drivers that come in numbers, or with more memory than the service takes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.handover import PAGE, Driver, add_region, connected, good, memfd
from virtmesh.attach.door import PENDING_LIMIT
from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX
from virtmesh.attach.server import HandoverServer
from virtmesh.rpc.unix_listener import ACCEPTED_AT_ONCE, ACCEPTED_PER_SECOND
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import MemoryMissing


async def test_pending_connections_are_bounded(server: HandoverServer) -> None:
    """For the ninth the oldest of its process leaves, and is told why."""
    drivers = [Driver(server.path) for _ in range(PENDING_LIMIT)]
    answers = [await driver.hand_over(good) for driver in drivers]
    with connected(server) as ninth:
        assert (await ninth.hand_over(good)).ticket
        refusal = pb.HandoverResponse.FromString(await drivers[0].receive())
        assert refusal.error_reason == "MEMORY_REFUSED"
        assert "the oldest of the process" in refusal.error_message
        assert await drivers[0].receive() == b""
        with pytest.raises(MemoryMissing):
            server.find(answers[0].ticket)
        assert server.find(answers[1].ticket)
    for driver in drivers:
        driver.socket.close()


async def test_a_flood_does_not_keep_another_process_out(server: HandoverServer) -> None:
    """Places that are taken again and again are taken from who has most of them."""
    with another_process(server.path) as flood:
        with connected(server) as driver:
            answer = await driver.hand_over(good)
            for _ in range(5 * PENDING_LIMIT):
                assert await asyncio.to_thread(flood)
            assert server.find(answer.ticket).memory is not None
        for _ in range(PENDING_LIMIT):
            assert await asyncio.to_thread(flood)
        with connected(server) as driver:
            assert (await driver.hand_over(good)).ticket


async def test_a_flood_is_accepted_slowly(server: HandoverServer) -> None:
    """After a burst each connection waits for its time, and gets its answer then."""
    loop = asyncio.get_running_loop()
    more = 8
    begun = loop.time()
    for _ in range(round(ACCEPTED_AT_ONCE) + more):
        with connected(server) as driver:
            driver.socket.send(b"no request")
            assert await driver.receive()
    assert loop.time() - begun >= (more - 1) / ACCEPTED_PER_SECOND


FLOOD = """
import fcntl, os, socket, sys
kept = []
for _ in sys.stdin:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(sys.argv[1])
    memory = os.memfd_create("flood", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, 4096)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    socket.send_fds(connection, [bytes.fromhex(sys.argv[2])], [memory])
    os.close(memory)
    connection.recv(4096)
    kept.append(connection)
    print(len(kept), flush=True)
"""
"""Hands memory over for each line, and keeps every connection."""


@contextmanager
def another_process(path: Path) -> Iterator[Callable[[], str]]:
    """Run a process that hands memory over for each call."""
    request = pb.HandoverRequest()
    request.regions.add(size_bytes=PAGE, descriptor_index=0)
    packet = request.SerializeToString().hex()
    command = [sys.executable, "-I", "-S", "-c", FLOOD, str(path), packet]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        orders, answers = process.stdin, process.stdout

        def connect() -> str:
            orders.write("\n")
            orders.flush()
            return answers.readline()

        yield connect
        orders.close()


async def test_more_memory_than_the_service_takes(tmp_path: Path) -> None:
    """Size is counted over all regions; pages that nobody has touched count."""
    server = HandoverServer(tmp_path / "handover", (64,), memory_max_bytes=2 * PAGE)
    server.listen()
    for size, reason in [(2 * PAGE, ""), (3 * PAGE, "MEMORY_REFUSED")]:
        with connected(server) as driver:
            answer = await driver.hand_over(partial(of_size, size=size))
            assert answer.error_reason == reason
            assert ("--guest-memory-max" in answer.error_message) == bool(reason)
    server.close()


async def test_sizes_that_no_host_has(server: HandoverServer) -> None:
    """A sparse file may have any size: 2^46 bytes are refused without an option."""
    with connected(server) as driver:
        answer = await driver.hand_over(partial(of_size, size=1 << 46))
        assert answer.error_reason == "MEMORY_REFUSED"
        assert str(GUEST_MEMORY_MAX) in answer.error_message


def of_size(request: pb.HandoverRequest, descriptors: list[int], size: int) -> None:
    """Offer sparse memory."""
    add_region(request, descriptors, memfd(size), size_bytes=size)
