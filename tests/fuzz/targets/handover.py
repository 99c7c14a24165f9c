"""The packet by which a driver hands memory and eventfds over, with descriptors of any kind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.fuzz.draw import Draw
from tests.fuzz.loop import Loop
from tests.fuzz.target import Target
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.request import parse
from virtmesh.attach.server import Handover
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import BadStream, MemoryRefused, VirtmeshError

QUEUES = (16, 16)
"""Sizes of the device's queues."""
SIZE = 1 << 16
KEPT = 4096
"""Bytes that the device keeps behind the in-flight logs."""


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Open a descriptor of each kind that may be handed over."""
    with ExitStack() as undo, Loop() as loop:
        kinds = [undo.enter_context(Ram(SIZE)).descriptor]
        for one in (
            os.eventfd(0, os.EFD_NONBLOCK),
            os.eventfd(0),
            os.memfd_create("unsealed"),
            os.open(os.devnull, os.O_RDWR),
            os.open("/", os.O_RDONLY),
            *os.pipe(),
        ):
            undo.callback(os.close, one)
            kinds.append(one)
        os.ftruncate(kinds[3], SIZE)

        async def take(data: bytes) -> None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)  # noqa: FBT003 - as socket has it
            handover = Handover(ours)
            draw = Draw(data)
            handover.own([os.dup(draw.choose(kinds)) for _ in range(draw.byte() % 12)])
            try:
                handover.take(packet(draw), QUEUES, KEPT)
                assert handover.memory is not None
            except VirtmeshError as error:
                assert isinstance(error, (MemoryRefused, BadStream)), error  # noqa: PT017
            handover.close()
            theirs.close()

        yield lambda data: loop.run(take(data))


def packet(draw: Draw) -> pb.HandoverRequest:
    """Make a request field by field, or of any bytes. Errors: BadStream."""
    if draw.chance(4):
        return parse(draw.rest(), 0)
    request = pb.HandoverRequest()
    for _ in range(draw.byte() % 10):
        request.regions.add(
            descriptor_index=draw.byte() % 12,
            guest_address=draw.edge(8) if draw.chance(4) else draw.byte() << 16,
            size_bytes=draw.edge(8) if draw.chance(4) else SIZE,
            offset_bytes=draw.edge(8) if draw.chance(8) else 0,
        )
    for _ in range(draw.byte() % 4):
        request.doorbells.add(
            queue=draw.byte() % 4, kick_index=draw.byte() % 12, call_index=draw.byte() % 12
        )
    for field in ("config_call_index", "inflight_log_index", "line_index"):
        if draw.chance(3):
            setattr(request, field, draw.byte() % 12)
    return request


def seeds() -> list[bytes]:
    """Return memory and a pair of eventfds."""
    return [bytes([3, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1, 2, 0, 0, 0])]


TARGET = Target(opened, seeds)
