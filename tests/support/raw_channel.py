"""The driver's end of a register channel for tests: packets as they are on the wire, unchecked."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from virtmesh.attach.asyncfd import readable
from virtmesh.attach.eventfd import drain
from virtmesh.attach.guest_ram import Ram
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.memory.v1 import handover_pb2
from virtmesh_common.channel import SESSION_KEY

RAM_BYTES = 1 << 20
ASSERTED, REFUSED, BROKE_RULE = 1, 2, 4
Entry = tuple[int, int, int]
"""Offset, op, value."""


def packet(tag: int, entries: Sequence[Entry]) -> bytes:
    """Make a request."""
    body = b"".join(struct.pack("<IB3xQ", *entry) for entry in entries)
    return struct.pack("<II", tag, len(entries)) + body


@dataclass(frozen=True)
class RawAnswer:
    """An answer."""

    tag: int
    asserted: bool
    causes: int
    sequence: int
    values: tuple[int, ...]
    refusal: tuple[str, str] | None = None

    @classmethod
    def parse(cls, data: bytes) -> RawAnswer:
        """Parse a packet."""
        tag, count, flags, causes, sequence = struct.unpack_from("<IIIIQ", data)
        assert not flags & ~(ASSERTED | REFUSED | BROKE_RULE)
        values = struct.unpack_from(f"<{count}Q", data, 24)
        rest = data[24 + 8 * count :].decode()
        refusal = None
        if flags & REFUSED:
            reason, _, message = rest.partition("\0")
            refusal = reason, message
        else:
            assert not rest
        return cls(tag, bool(flags & ASSERTED), causes, sequence, values, refusal)


class RawChannel:
    """A connection whose driver is attached, or not yet."""

    def __init__(self, connection: socket.socket, line: int, version: int) -> None:
        self.connection = connection
        self.line = line
        """The eventfd that tells changes of the line."""
        self.version = version
        self.session = ""

    @property
    def metadata(self) -> tuple[tuple[str, str]]:
        """The session, for calls by gRPC."""
        return ((SESSION_KEY, self.session),)

    async def answer(self) -> RawAnswer | None:
        """Return the next answer; None at the end."""
        await readable(self.connection)
        try:
            data = self.connection.recv(1 << 17)
        except ConnectionResetError:
            return None
        return RawAnswer.parse(data) if data else None

    async def ask(self, *entries: Entry, tag: int = 0) -> RawAnswer:
        """Send a request, and return its answer."""
        self.connection.send(packet(tag, entries))
        answer = await self.answer()
        assert answer is not None
        return answer

    def line_told(self) -> bool:
        """Say whether the line eventfd was signalled since the last look."""
        return drain(self.line)


@asynccontextmanager
async def handed_over(handover: Path) -> AsyncIterator[tuple[RawChannel, str]]:
    """Hand memory and a line eventfd over. Yields the connection and the ticket."""
    kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
    line = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        with Ram(RAM_BYTES) as ram, socket.socket(socket.AF_UNIX, kind) as connection:
            connection.connect(str(handover))
            request = handover_pb2.HandoverRequest(line_index=1)
            request.regions.add(guest_address=ram.address, size_bytes=ram.size)
            socket.send_fds(connection, [request.SerializeToString()], [ram.descriptor, line])
            await readable(connection)
            answer = handover_pb2.HandoverResponse.FromString(connection.recv(1 << 16))
            assert not answer.error_reason, answer.error_message
            yield RawChannel(connection, line, answer.register_channel), answer.ticket
    finally:
        os.close(line)


@asynccontextmanager
async def raw_channel(
    handover: Path, channel: grpc.aio.Channel, name: str = "raw"
) -> AsyncIterator[RawChannel]:
    """Attach a driver for a while."""
    async with handed_over(handover) as (raw, ticket):
        request = device_pb2.AttachRequest(driver_name=name, ticket=ticket)
        raw.session = (await DeviceServiceStub(channel).Attach(request)).session_id
        yield raw
