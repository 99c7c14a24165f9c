"""The driver's half of the handover protocol: memory and doorbells go to a device.

See protos/virtmesh/memory/v1/handover.proto.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from virtmesh.attach.asyncfd import readable
from virtmesh.mmio.device import QueueEventfds
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import (
    BY_REASON,
    BadStream,
    DeviceLost,
    MemoryRefused,
    ServiceUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.attach.guest_ram import Ram

PACKET_LIMIT = 64 << 10
"""Largest packet, in bytes (virtmesh.memory.v1)."""


def make_eventfd() -> int:
    """Make the kind of eventfd that devices take."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


@dataclass
class AttachmentEventfds:
    """The eventfds of one attachment: a pair for each queue, one for configuration changes."""

    queues: dict[int, QueueEventfds] = field(default_factory=dict)
    config_call: int | None = None

    @classmethod
    def make(cls, queues: int) -> AttachmentEventfds:
        """Make the eventfds for this many queues. Errors: OSError without descriptors."""
        doorbells = cls()
        try:
            for queue in range(queues):
                kick = make_eventfd()
                try:
                    doorbells.queues[queue] = QueueEventfds(kick=kick, call=make_eventfd())
                except OSError:
                    os.close(kick)
                    raise
            doorbells.config_call = make_eventfd()
        except OSError:
            doorbells.close()
            raise
        return doorbells

    def close(self) -> None:
        """Close them."""
        for doorbell in self.queues.values():
            os.close(doorbell.kick)
            os.close(doorbell.call)
        if self.config_call is not None:
            os.close(self.config_call)
        self.queues, self.config_call = {}, None


class AttachConnection:
    """An accepted handover. It lasts as long as the attachment: closing it gives the device up."""

    def __init__(self, connection: socket.socket, ticket: str) -> None:
        self._connection = connection
        self.ticket = ticket

    @classmethod
    async def open(
        cls, path: str, ram: Ram, doorbells: AttachmentEventfds, *, timeout_s: float
    ) -> AttachConnection:
        """Hand memory and doorbells over, and wait for the ticket.

        Errors: ServiceUnavailable when nobody answers; MemoryRefused classes as the device says;
        BadStream for an answer that is none; DeviceLost when the device hangs up.
        """
        connection = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            packet, descriptors = describe(ram, doorbells)
            try:
                connection.connect(path)
            except (OSError, ValueError) as error:  # ValueError: what no path can hold
                raise ServiceUnavailable(
                    f"nobody takes memory at {path!r}: {error}", address=path
                ) from error
            try:
                socket.send_fds(connection, [packet], descriptors)
                async with asyncio.timeout(timeout_s):
                    await readable(connection)
                answer = connection.recv(PACKET_LIMIT)
            except TimeoutError:
                raise ServiceUnavailable(f"no answer from {path} in time", address=path) from None
            except OSError as error:
                raise DeviceLost(f"{path}: the device hung up: {error.strerror}") from error
            return cls(connection, _ticket(answer, path))
        except BaseException:
            connection.close()
            raise

    def watch(self, ended: Callable[[], None]) -> None:
        """Call `ended` once, when the device's end of the line is gone."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            try:
                if self._connection.recv(PACKET_LIMIT):
                    return  # the protocol has no further packets; one changes nothing
            except BlockingIOError:
                return
            except OSError:
                pass  # a reset connection is as gone as a closed one
            loop.remove_reader(self._connection)
            ended()

        loop.add_reader(self._connection, look)

    def close(self) -> None:
        """Hang up."""
        if self._connection.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._connection)
        self._connection.close()


def describe(ram: Ram, doorbells: AttachmentEventfds) -> tuple[bytes, list[int]]:
    """Make the packet of a handover, and the descriptors that go with it."""
    descriptors = [ram.descriptor]
    request = pb.HandoverRequest()
    request.regions.add(guest_address=ram.address, size_bytes=ram.size, descriptor_index=0)
    for queue, doorbell in doorbells.queues.items():
        kick_index = len(descriptors)
        request.doorbells.add(queue=queue, kick_index=kick_index, call_index=kick_index + 1)
        descriptors += [doorbell.kick, doorbell.call]
    if doorbells.config_call is not None:
        request.config_call_index = len(descriptors)
        descriptors.append(doorbells.config_call)
    return request.SerializeToString(), descriptors


def _ticket(answer: bytes, path: str) -> str:
    """Read the device's answer."""
    if not answer:
        raise DeviceLost(f"{path}: the device hung up without an answer")
    try:
        response = pb.HandoverResponse.FromString(answer)
    except DecodeError as error:
        raise BadStream(f"{path}: the answer is no HandoverResponse") from error
    if response.error_reason:
        kind = BY_REASON.get(response.error_reason, MemoryRefused)
        raise kind(response.error_message)
    if not response.ticket:
        raise BadStream(f"{path}: the answer has no ticket")
    return response.ticket
