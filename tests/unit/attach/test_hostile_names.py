"""Handovers of files whose names are no text, or text for somebody else."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.handover import (
    Fill,
    add_doorbell,
    add_region,
    connected,
    eventfd,
    good,
    memfd,
    open_descriptors,
)
from virtmesh.attach.server import HandoverServer
from virtmesh_common.api.memory.v1 import handover_pb2 as pb

NAMES = {
    "no UTF-8": b"\xff\xfe",
    "two lines": b"x\n2026-01-01T00:00:00Z [info     ] all is well",
    "a terminal's": b"\x1b[2J\x1b]0;owned\x07",
    "long": b"\xff" * 255,
}
PACKETS = 5


def as_kick(file: int) -> Fill:
    """Offer it for a kick."""

    def fill(request: pb.HandoverRequest, descriptors: list[int]) -> None:
        add_region(request, descriptors, memfd())
        add_doorbell(request, descriptors, 0, os.dup(file), eventfd())

    return fill


def as_call(file: int) -> Fill:
    """Offer it for a call."""

    def fill(request: pb.HandoverRequest, descriptors: list[int]) -> None:
        add_region(request, descriptors, memfd())
        add_doorbell(request, descriptors, 0, eventfd(), os.dup(file))

    return fill


def as_field(field: str) -> Callable[[int], Fill]:
    """Offer it for what a field of the request is about."""

    def make(file: int) -> Fill:
        def fill(request: pb.HandoverRequest, descriptors: list[int]) -> None:
            add_region(request, descriptors, memfd())
            setattr(request, field, len(descriptors))
            descriptors.append(os.dup(file))

        return fill

    return make


def as_memory(file: int) -> Fill:
    """Offer it for memory."""
    return lambda request, descriptors: add_region(request, descriptors, os.dup(file))


ROLES: dict[str, Callable[[int], Fill]] = {
    "kick": as_kick,
    "call": as_call,
    "configuration": as_field("config_call_index"),
    "line": as_field("line_index"),
    "log": as_field("inflight_log_index"),
    "memory": as_memory,
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", NAMES)
async def test_a_file_of_any_name_is_refused(
    server: HandoverServer, tmp_path: Path, name: str, role: str
) -> None:
    """In one line of text; the connection ends, and its descriptors are closed: it counts them."""
    file = os.open(os.fsencode(tmp_path) + b"/" + NAMES[name], os.O_RDWR | os.O_CREAT)
    with connected(server) as driver:
        answer = await driver.hand_over(ROLES[role](file))
        assert answer.error_reason
        assert answer.error_message.isprintable()
        assert await driver.receive() == b""
    with connected(server) as driver:
        assert (await driver.hand_over(good)).ticket
    os.close(file)


async def test_a_handover_that_fails_within_the_service(tmp_path: Path) -> None:
    """Whatever the cause: the connection ends at its first packet, with all that came by it."""
    server = HandoverServer(tmp_path / "broken", queue_size_max=("no number",))  # type: ignore[arg-type]
    server.listen()
    descriptors = [memfd(), memfd()]
    before = open_descriptors()
    with connected(server) as driver:
        request = pb.HandoverRequest(inflight_log_index=1)
        add_region(request, [], descriptors[0])
        with suppress(OSError):  # It has ended.
            for _ in range(PACKETS):
                socket.send_fds(driver.socket, [request.SerializeToString()], descriptors)
        assert await driver.receive() == b""
    with connected(server) as driver:
        answer = await driver.send(b"", [])
        assert answer.error_reason == "MEMORY_MISSING"
    assert open_descriptors() <= before
    server.close()
    for descriptor in descriptors:
        os.close(descriptor)
