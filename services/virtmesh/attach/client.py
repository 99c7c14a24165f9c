"""The driver's half of the handover protocol: it passes memory and eventfds to a device.

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
from virtmesh.rpc.strangers import hang_up, receive, take_no_descriptors
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import (
    BY_REASON,
    BadStream,
    DeviceLost,
    MemoryRefused,
    ServiceUnavailable,
)
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.attach.guest_ram import Ram

PACKET_LIMIT = 64 << 10
"""Largest packet, in bytes (virtmesh.memory.v1)."""


def make_eventfd() -> int:
    """Make an eventfd that devices accept: non-blocking. Errors: OSError."""
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


@dataclass
class AttachmentEventfds:
    """The eventfds of one attachment: a pair for each queue, one for configuration changes.

    `line`, where a driver wants it, is signalled when the interrupt line changes.
    """

    queues: dict[int, QueueEventfds] = field(default_factory=dict)
    config_call: int | None = None
    line: int | None = None

    @classmethod
    def make(cls, queues: int, *, line: bool = False) -> AttachmentEventfds:
        """Make the eventfds for `queues` queues. Errors: OSError if no descriptors are left."""
        eventfds = cls()
        try:
            for queue in range(queues):
                kick = make_eventfd()
                try:
                    eventfds.queues[queue] = QueueEventfds(kick=kick, call=make_eventfd())
                except OSError:
                    os.close(kick)
                    raise
            eventfds.config_call = make_eventfd()
            if line:
                eventfds.line = make_eventfd()
        except OSError:
            eventfds.close()
            raise
        return eventfds

    def close(self) -> None:
        """Close all of them."""
        for pair in self.queues.values():
            os.close(pair.kick)
            os.close(pair.call)
        if self.config_call is not None:
            os.close(self.config_call)
        if self.line is not None:
            os.close(self.line)
        self.queues, self.config_call, self.line = {}, None, None


class AttachConnection:
    """The connection over which memory was handed over.

    The attachment lasts as long as this connection; closing it detaches the driver.
    """

    def __init__(self, connection: socket.socket, answer: pb.HandoverResponse) -> None:
        self._connection = connection
        self.ticket = answer.ticket
        self.register_channel = answer.register_channel
        """Version of the register channel that the connection carries after Attach; 0: none."""

    @classmethod
    async def open(
        cls,
        path: str,
        ram: Ram,
        eventfds: AttachmentEventfds,
        *,
        timeout_s: float,
        inflight_logs: int | None = None,
    ) -> AttachConnection:
        """Hand memory and eventfds over, and wait for the ticket.

        `path` is the handover socket, `inflight_logs` the descriptor of what
        virtmesh.mmio.inflight_logs.make_logs has made, if requests shall survive the device's
        process. Errors: ServiceUnavailable if nobody listens or the answer is late; MemoryRefused
        classes if the device refuses; BadStream for an answer that is not a HandoverResponse;
        DeviceLost if the device closes the connection.
        """
        connection = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        take_no_descriptors(connection)  # Closing what a device sends could keep this process.
        try:
            packet, descriptors = make_packet(ram, eventfds, inflight_logs)
            try:
                connection.connect(path)
            except (OSError, ValueError) as error:  # ValueError: what no path can hold
                raise ServiceUnavailable(
                    f"can't connect to the handover socket {path!r}: {error}", address=path
                ) from error
            try:
                socket.send_fds(connection, [packet], descriptors)
                async with time_limit(timeout_s):
                    await readable(connection)
                answer, _ = receive(connection, PACKET_LIMIT)
            except TimeoutError:
                raise ServiceUnavailable(
                    f"{path}: no answer within {timeout_s:g} s", address=path
                ) from None
            except OSError as error:
                raise DeviceLost(
                    f"{path}: the device closed the connection: {error.strerror}"
                ) from error
            return cls(connection, _parse(answer, path))
        except BaseException:
            hang_up(connection)
            raise

    @property
    def socket(self) -> socket.socket:
        """The connection, which carries the register channel once attached."""
        return self._connection

    def watch(self, ended: Callable[[], None]) -> None:
        """Call `ended` once, when the device has closed its end of the connection."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            try:
                if receive(self._connection, PACKET_LIMIT)[0]:
                    return  # The protocol has no further packets: ignore one.
            except BlockingIOError:
                return
            except OSError:
                pass  # A reset connection has ended like a closed one.
            loop.remove_reader(self._connection)
            ended()

        loop.add_reader(self._connection, look)

    def close(self) -> None:
        """Close the connection: the device detaches this driver."""
        if self._connection.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._connection)
        hang_up(self._connection)


def make_packet(
    ram: Ram, eventfds: AttachmentEventfds, inflight_logs: int | None = None
) -> tuple[bytes, list[int]]:
    """Return the packet of a handover, and the descriptors to send with it."""
    descriptors = [ram.descriptor]
    request = pb.HandoverRequest()
    request.regions.add(guest_address=ram.address, size_bytes=ram.size, descriptor_index=0)
    for queue, pair in eventfds.queues.items():
        kick_index = len(descriptors)
        request.doorbells.add(queue=queue, kick_index=kick_index, call_index=kick_index + 1)
        descriptors += [pair.kick, pair.call]
    if eventfds.config_call is not None:
        request.config_call_index = len(descriptors)
        descriptors.append(eventfds.config_call)
    if eventfds.line is not None:
        request.line_index = len(descriptors)
        descriptors.append(eventfds.line)
    if inflight_logs is not None:
        request.inflight_log_index = len(descriptors)
        descriptors.append(inflight_logs)
    return request.SerializeToString(), descriptors


def _parse(answer: bytes, path: str) -> pb.HandoverResponse:
    """Parse and check an answer. Errors: as `AttachConnection.open`."""
    if not answer:
        raise DeviceLost(f"{path}: the device closed the connection without an answer")
    try:
        response = pb.HandoverResponse.FromString(answer)
    except DecodeError as error:
        raise BadStream(
            f"{path}: the answer is not a HandoverResponse: name the handover socket of a device"
        ) from error
    if response.error_reason:
        kind = BY_REASON.get(response.error_reason, MemoryRefused)
        raise kind(response.error_message)
    if not response.ticket:
        raise BadStream(f"{path}: the answer has neither a ticket nor an error")
    return response
