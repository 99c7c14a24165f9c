"""The handover socket: receives a driver's memory and eventfds (virtmesh.memory.v1).

Input is hostile until it is checked: packets and control data can be truncated, and descriptors can
be too many, too few, or not what the request says. Every received descriptor is closed here, or is
owned by a `Handover`, which closes it.

Invariant: a connection is in `_connections` from `accept` until it is closed, and counts as pending
until it is attached or refused; it is closed once. All that it brought is read before it is closed:
a SOCK_SEQPACKET socket that is closed with something unread gives its peer ECONNRESET, not the
answer (unix(7)).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import select
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog
from google.protobuf.message import DecodeError
from virtmesh_native import GuestMemory

from virtmesh.mmio.device import QueueEventfds
from virtmesh.mmio.inflight_logs import InFlightLogs
from virtmesh.rpc.peers import OWN_USER
from virtmesh.rpc.unix_listener import UnixListener
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import (
    BadDoorbell,
    BadStream,
    MemoryMissing,
    MemoryRefused,
    MessageTooLarge,
    VirtmeshError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

PACKET_LIMIT_BYTES = 64 << 10
"""Largest packet (handover.proto)."""
DESCRIPTOR_LIMIT = 128
"""Most descriptors of a packet (handover.proto)."""
REGION_LIMIT = 8
"""Most regions of guest memory (handover.proto)."""
PENDING_LIMIT = 8
"""Most connections that are not attached yet; each one holds descriptors of this process."""
PENDING_SECONDS = 30.0
"""Time in which a connection must be attached: how long a ticket is valid (handover.proto)."""
REFUSED_LIMIT = 8
"""Most connections above PENDING_LIMIT whose request is awaited, so that they read the refusal."""
REFUSED_SECONDS = 1.0
"""How long it is awaited."""
UNREAD_LIMIT = 16
"""Most packets that are read to get rid of them, before a connection is closed."""
ACCEPT_PAUSE_SECONDS = 1.0
"""Pause after a connection could not be accepted."""
EVENTFD_LINK = "anon_inode:[eventfd]"
REGISTER_CHANNEL = 1
"""Version of the register channel that this package serves (handover.proto)."""


class ClosableChannel(Protocol):
    """What serves the register channel of a connection."""

    def close(self) -> None:
        """Stop serving, before the connection is closed."""


class Handover:
    """What one driver handed over, and the connection whose end says that the driver is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.ticket = ""
        self.memory: GuestMemory | None = None
        self.doorbells: dict[int, QueueEventfds] = {}
        self.config_call: int | None = None
        self.inflight_logs: InFlightLogs | None = None
        self.line: int | None = None
        self.channel: ClosableChannel | None = None
        """Reads the connection from Attach on."""
        self.attached = False
        self.refusal: VirtmeshError | None = None
        """Set while its request is awaited only to refuse it."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is closed, by either side."""
        self._descriptors: Sequence[int] = ()

    def own(self, descriptors: Sequence[int]) -> None:
        """Take ownership of the received descriptors: they are closed with the connection."""
        self._descriptors = descriptors

    def take(
        self,
        request: pb.HandoverRequest,
        queue_size_max: Sequence[int],
        kept_state_bytes: int = 0,
    ) -> None:
        """Check a request against the descriptors, map its memory and make the ticket.

        Errors: MemoryRefused, MemoryMissing, MemoryUnsealed, MemoryTooSmall, BadDoorbell.
        """
        descriptors = self._descriptors
        check_indexes(request, len(descriptors))
        self.doorbells = check_doorbells(request, descriptors, len(queue_size_max))
        if request.HasField("config_call_index"):
            self.config_call = descriptors[request.config_call_index]
            check_eventfd(self.config_call, "the configuration change doorbell")
        if request.HasField("inflight_log_index"):
            log_descriptor = descriptors[request.inflight_log_index]
            self.inflight_logs = InFlightLogs(log_descriptor, queue_size_max, kept_state_bytes)
        if request.HasField("line_index"):
            self.line = descriptors[request.line_index]
            check_eventfd(self.line, "the eventfd of the line")
        self.memory = GuestMemory(
            [
                (
                    descriptors[region.descriptor_index],
                    region.guest_address,
                    region.size_bytes,
                    region.offset_bytes,
                )
                for region in request.regions
            ]
        )
        self.ticket = secrets.token_urlsafe(24)

    def close(self) -> None:
        """Close the connection and every descriptor."""
        close_all(self._descriptors)
        self._descriptors = ()
        if self.inflight_logs is not None:
            self.inflight_logs.keep()  # The connection ended, not the driver's use of its queues.
        self.memory = self.inflight_logs = None
        if self.channel is not None:
            self.channel.close()
        discard_unread(self.connection)
        self.connection.close()
        if not self.gone.done():
            self.gone.set_result(None)


class HandoverServer:
    """A unix socket of the type SOCK_SEQPACKET.

    `queue_size_max` has the largest size of each queue of the device, in entries, and
    `kept_state_bytes` what it keeps behind the in-flight logs.
    `register_channel` is the version that its connections carry after Attach; 0: none.
    """

    def __init__(
        self,
        path: Path,
        queue_size_max: Sequence[int],
        *,
        kept_state_bytes: int = 0,
        pending_seconds: float = PENDING_SECONDS,
        register_channel: int = 0,
    ) -> None:
        self.path = path
        self.peers = OWN_USER  # Whose processes may attach.
        self._queue_size_max = queue_size_max
        self._kept_state_bytes = kept_state_bytes
        self._register_channel = register_channel
        self._pending_seconds = pending_seconds
        self._connections: set[Handover] = set()
        self._loop = asyncio.get_running_loop()
        self._listener: UnixListener | None = None

    def listen(self) -> None:
        """Begin to accept connections. Errors: AddressTaken."""
        self._listener = UnixListener(self.path, socket.SOCK_SEQPACKET, option="--handover")
        self._resume()

    def find(self, ticket: str) -> Handover:
        """Return what was handed over for a ticket. Errors: MemoryMissing if there is nothing."""
        for handover in self._connections:
            if handover.ticket and secrets.compare_digest(
                handover.ticket.encode(), ticket.encode()
            ):
                return handover
        raise MemoryMissing(
            "no memory was handed over for this ticket, or its connection is closed: hand memory"
            f" over at {self.path}, and keep the connection open"
        )

    def drop(self, handover: Handover) -> None:
        """Close a connection."""
        if handover in self._connections:
            self._connections.remove(handover)
            self._loop.remove_reader(handover.connection.fileno())
            handover.close()

    def close(self) -> None:
        """Stop listening, close every connection and remove the socket."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener.socket.fileno())
            self._listener.remove()
            self._listener.close()
            self._listener = None
        for handover in list(self._connections):
            self.drop(handover)

    def _accept(self, listener: socket.socket) -> None:
        """Accept one connection."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Most likely no descriptors are left. Without a pause the loop would do nothing else.
            log.warning("can't accept a connection", error=os.strerror(error.errno or 0))
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._resume)
            return
        connection.setblocking(False)  # noqa: FBT003 - as socket has it
        handover = Handover(connection)
        handover.refusal = self.peers.refusal(connection)
        waiting = [other for other in self._connections if not other.attached]
        refused = sum(other.refusal is not None for other in waiting)
        pending, seconds = len(waiting) - refused, self._pending_seconds
        if handover.refusal is None and pending >= PENDING_LIMIT:
            handover.refusal = MemoryRefused(
                f"{pending} drivers are attaching already, and more can't wait: try again later"
            )
        if handover.refusal is not None:
            seconds = REFUSED_SECONDS
            if refused >= REFUSED_LIMIT:
                refuse(handover, handover.refusal)
                handover.close()
                return
        self._connections.add(handover)
        self._loop.add_reader(connection.fileno(), self._read, handover)
        self._loop.call_later(seconds, self._expire, handover)

    def _resume(self) -> None:
        """Accept connections, at the start or again after a pause."""
        if self._listener is not None:
            listener = self._listener.socket
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _expire(self, handover: Handover) -> None:
        """Close a connection that was not attached in time."""
        if not handover.attached:
            if handover.refusal is not None:
                refuse(handover, handover.refusal)
            self.drop(handover)

    def _read(self, handover: Handover) -> None:
        """Read a packet: the request, or the end of the connection (until a channel reads it)."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                handover.connection, PACKET_LIMIT_BYTES, DESCRIPTOR_LIMIT, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            self.drop(handover)
            return
        nothing = not (data or descriptors)  # The end, or an empty packet: a request of nothing.
        if handover.ticket or (nothing and has_ended(handover.connection)):
            # The end, or a packet after the request, which the protocol does not allow.
            close_all(descriptors)
            self.drop(handover)
            return
        handover.own(descriptors)
        try:
            if handover.refusal is not None:
                raise handover.refusal
            request = parse(data, flags)
            handover.take(request, self._queue_size_max, self._kept_state_bytes)
        except VirtmeshError as error:
            log.info("refused a handover", reason=error.reason, message=error.message)
            refuse(handover, error)
            self.drop(handover)
        else:
            response = pb.HandoverResponse(
                ticket=handover.ticket, register_channel=self._register_channel
            )
            answer(handover, response)


def parse(data: bytes, flags: int) -> pb.HandoverRequest:
    """Parse one packet. Errors: MessageTooLarge for a truncated one; BadStream."""
    if flags & socket.MSG_TRUNC:
        raise MessageTooLarge(
            f"the packet is larger than {PACKET_LIMIT_BYTES} bytes: describe fewer doorbells"
        )
    if flags & socket.MSG_CTRUNC:
        raise MessageTooLarge(
            f"the packet has more than {DESCRIPTOR_LIMIT} descriptors, or this service has no free"
            " descriptors: send fewer, or try again later"
        )
    try:
        return pb.HandoverRequest.FromString(data)
    except DecodeError as error:
        raise BadStream("the packet does not parse as a HandoverRequest") from error


def check_indexes(request: pb.HandoverRequest, count: int) -> None:
    """Check the regions, and that the indexes match the descriptors one to one.

    Errors: MemoryMissing, MemoryRefused.
    """
    if not request.regions:
        raise MemoryMissing("the request describes no memory: at least one region is needed")
    if len(request.regions) > REGION_LIMIT:
        raise MemoryRefused(
            f"{len(request.regions)} regions came: at most {REGION_LIMIT} are allowed"
        )
    addresses = [region.guest_address for region in request.regions]
    if addresses != sorted(addresses):
        raise MemoryRefused("the regions are not in ascending order of guest_address: sort them")
    used = {region.descriptor_index for region in request.regions}
    for doorbell in request.doorbells:
        used |= {doorbell.kick_index, doorbell.call_index}
    if request.HasField("config_call_index"):
        used.add(request.config_call_index)
    if request.HasField("inflight_log_index"):
        used.add(request.inflight_log_index)
    if request.HasField("line_index"):
        used.add(request.line_index)
    if used != set(range(count)):
        raise MemoryRefused(
            f"{count} descriptors came, and the request uses the indexes"
            f" {', '.join(map(str, sorted(used)))}: use each descriptor"
        )


def check_doorbells(
    request: pb.HandoverRequest, descriptors: Sequence[int], queues: int
) -> dict[int, QueueEventfds]:
    """Return the doorbells by queue. Errors: BadDoorbell."""
    doorbells: dict[int, QueueEventfds] = {}
    for entry in request.doorbells:
        if entry.queue >= queues:
            raise BadDoorbell(
                f"a doorbell is for queue {entry.queue}, and the device has {queues} queues"
            )
        if entry.queue in doorbells:
            raise BadDoorbell(f"queue {entry.queue} has two doorbells: send one")
        doorbell = QueueEventfds(descriptors[entry.kick_index], descriptors[entry.call_index])
        check_eventfd(doorbell.kick, f"kick of queue {entry.queue}")
        check_eventfd(doorbell.call, f"call of queue {entry.queue}")
        doorbells[entry.queue] = doorbell
    return doorbells


def check_eventfd(descriptor: int, name: str) -> None:
    """Check that a descriptor is a non-blocking eventfd. Errors: BadDoorbell."""
    kind = Path(f"/proc/self/fd/{descriptor}").readlink()
    if str(kind) != EVENTFD_LINK:
        raise BadDoorbell(f"{name} is {kind}, not an eventfd")
    if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK:
        raise BadDoorbell(f"{name} is a blocking eventfd: make it with EFD_NONBLOCK")


def refuse(handover: Handover, error: VirtmeshError) -> None:
    """Answer with an error."""
    answer(handover, pb.HandoverResponse(error_reason=error.reason, error_message=error.message))


def answer(handover: Handover, response: pb.HandoverResponse) -> None:
    """Send an answer. A driver that has gone, or does not read, does not get it."""
    with suppress(OSError):
        handover.connection.send(response.SerializeToString(), socket.MSG_NOSIGNAL)


def has_ended(connection: socket.socket) -> bool:
    """Say whether the other side will send nothing more."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def discard_unread(connection: socket.socket) -> None:
    """Read what has come and close its descriptors, so that the other side can read its answer."""
    with suppress(OSError):
        for _ in range(UNREAD_LIMIT):
            data, descriptors, _, _ = socket.recv_fds(
                connection, PACKET_LIMIT_BYTES, DESCRIPTOR_LIMIT, socket.MSG_CMSG_CLOEXEC
            )
            close_all(descriptors)
            if not (data or descriptors):
                return


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
