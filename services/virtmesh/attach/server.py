"""The handover socket: receives a driver's memory and eventfds (virtmesh.memory.v1).

Input is hostile until it is checked (virtmesh.attach.request): packets and control data can be
truncated, and descriptors can be too many, too few, or not what the request says. Every received
descriptor is owned by a `Handover`, and is closed by a thread that nobody waits for.

Invariant: a connection is in `_connections` from `accept` until it is closed, and counts as pending
until it is attached or refused; it is closed once. All that it brought is read before it is closed:
a SOCK_SEQPACKET socket that is closed with something unread gives its peer ECONNRESET, not the
answer (unix(7)).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog
from virtmesh_native import GuestMemory

from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX, check_size, warn_of
from virtmesh.attach.request import (
    PACKET_LIMIT_BYTES,
    check_doorbells,
    check_eventfd,
    check_indexes,
    parse,
)
from virtmesh.mmio.inflight_logs import InFlightLogs
from virtmesh.rpc.peers import OWN_USER
from virtmesh.rpc.strangers import SCM_MAX_FD, close_all, hang_up, has_room, peer_of, who_leaves
from virtmesh.rpc.unix_listener import ACCEPT_PAUSE_SECONDS, UnixListener
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
from virtmesh_common.errors import MemoryMissing, MemoryRefused, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from virtmesh.mmio.device import QueueEventfds

log = structlog.get_logger(__name__)

PENDING_LIMIT = 8
"""Most connections that are not attached yet; each one holds descriptors of this process."""
PENDING_SECONDS = 30.0
"""Time in which a connection must be attached: how long a ticket is valid (handover.proto)."""
REFUSED_LIMIT = 8
"""Most connections of strangers whose request is awaited, so that they read the refusal."""
REFUSED_SECONDS = 1.0
"""How long it is awaited."""
UNREAD_LIMIT = 16
"""Most packets that are read to get rid of them, before a connection is closed."""
RECEIVE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
"""Flags of a read that waits for nobody, whatever those of the socket are."""
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
        self.peer = peer_of(connection)
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
        """Set while its request is awaited only to refuse it: it is a stranger's."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is closed, by either side."""
        self.timer: asyncio.TimerHandle | None = None
        """Ends the connection unless it is attached in time."""
        self._descriptors: Sequence[int] = ()

    def own(self, descriptors: Sequence[int]) -> None:
        """Take ownership of the received descriptors: they are closed with the connection."""
        close_all(self._descriptors)
        self._descriptors = descriptors

    def take(
        self,
        request: pb.HandoverRequest,
        queue_size_max: Sequence[int],
        kept_state_bytes: int = 0,
        memory_max_bytes: int = GUEST_MEMORY_MAX,
    ) -> None:
        """Check a request against the descriptors, map its memory and make the ticket.

        Errors: MemoryRefused, MemoryMissing, MemoryUnsealed, MemoryTooSmall, BadDoorbell.
        """
        descriptors = self._descriptors
        check_indexes(request, len(descriptors))
        check_size(sum(region.size_bytes for region in request.regions), memory_max_bytes)
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
        warn_of(self.memory.size)
        self.ticket = secrets.token_urlsafe(24)

    def close(self) -> None:
        """Close the connection and every descriptor."""
        if self.timer is not None:
            self.timer.cancel()
        close_all(self._descriptors)
        self._descriptors = ()
        if self.inflight_logs is not None:
            self.inflight_logs.keep()  # The connection ended, not the driver's use of its queues.
        self.memory = self.inflight_logs = None
        if self.channel is not None:
            self.channel.close()
            self.channel = None  # It knows the session, and that this: its descriptors would stay.
        discard_unread(self.connection)
        hang_up(self.connection)
        if not self.gone.done():
            self.gone.set_result(None)


class HandoverServer:
    """A unix socket of the type SOCK_SEQPACKET.

    `queue_size_max` has the largest size of each queue of the device, in entries,
    `kept_state_bytes` what it keeps behind the in-flight logs, and `memory_max_bytes` how much
    guest memory it takes.
    `register_channel` is the version that its connections carry after Attach; 0: none.
    """

    def __init__(  # noqa: PLR0913 - what a device takes
        self,
        path: Path,
        queue_size_max: Sequence[int],
        *,
        kept_state_bytes: int = 0,
        memory_max_bytes: int = GUEST_MEMORY_MAX,
        pending_seconds: float = PENDING_SECONDS,
        register_channel: int = 0,
    ) -> None:
        self.path = path
        self.peers = OWN_USER  # Whose processes may attach.
        self._queue_size_max = queue_size_max
        self._kept_state_bytes = kept_state_bytes
        self._memory_max_bytes = memory_max_bytes
        self._register_channel = register_channel
        self._pending_seconds = pending_seconds
        self._connections: dict[Handover, None] = {}
        """In the order in which they came."""
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
            del self._connections[handover]
            self._loop.remove_reader(handover.connection.fileno())
            self._unwatch(handover)
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
            self._pause(ACCEPT_PAUSE_SECONDS)
            return
        if self._listener is not None and (rest := self._listener.rest_seconds()):
            self._pause(rest)
        connection.setblocking(False)  # noqa: FBT003 - as socket has it
        if not has_room():
            log.warning("descriptors of strangers can't be closed: no driver can attach")
            hang_up(connection)
            return
        handover = Handover(connection)
        handover.refusal = self.peers.refusal(connection)
        seconds = self._pending_seconds
        if handover.refusal is not None:
            seconds = REFUSED_SECONDS
            refused = sum(other.refusal is not None for other in self._connections)
            if refused >= REFUSED_LIMIT:
                refuse(handover, handover.refusal)
                handover.close()
                return
        self._connections[handover] = None
        self._make_room()
        if handover in self._connections:
            self._loop.add_reader(connection.fileno(), self._read, handover)
            handover.timer = self._loop.call_later(seconds, self._expire, handover)

    def _make_room(self) -> None:
        """Let go of a connection if too many wait: of who has most of them, the oldest."""
        waiting = [one for one in self._connections if not one.attached and one.refusal is None]
        if len(waiting) <= PENDING_LIMIT:
            return
        leaves = waiting[who_leaves([handover.peer for handover in waiting])]
        log.warning("too many drivers are attaching: one leaves", process=leaves.peer.process)
        refuse(
            leaves,
            MemoryRefused(
                f"{PENDING_LIMIT} drivers are attaching already, and this one is the oldest of the"
                " process that has most of them: try again later"
            ),
        )
        self.drop(leaves)

    def _pause(self, seconds: float) -> None:
        """Accept no connections for a time."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener.socket.fileno())
            self._loop.call_later(seconds, self._resume)

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
                handover.connection, PACKET_LIMIT_BYTES, SCM_MAX_FD, RECEIVE
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
        taken = False
        try:
            self._take(handover, data, flags, len(descriptors))
            taken = True
        except VirtmeshError as error:
            log.info("refused a handover", reason=error.reason, message=error.message)
            refuse(handover, error)
        except Exception:  # Whatever a stranger brought about: its connection ends, and no other.
            log.exception("a handover failed")
        finally:
            if not taken:
                self.drop(handover)

    def _take(self, handover: Handover, data: bytes, flags: int, count: int) -> None:
        """Take a request with `count` descriptors, and answer it. Errors: as `Handover.take`."""
        if handover.refusal is not None:
            raise handover.refusal
        handover.take(
            parse(data, flags, count),
            self._queue_size_max,
            self._kept_state_bytes,
            self._memory_max_bytes,
        )
        self._watch(handover)
        answer(
            handover,
            pb.HandoverResponse(ticket=handover.ticket, register_channel=self._register_channel),
        )

    def _watch(self, handover: Handover) -> None:
        """Hang up when memory of a driver goes away under its mapping."""
        lost = handover.memory.lost_fd if handover.memory is not None else None
        if lost is not None:
            self._loop.add_reader(lost, self._lose, handover)

    def _unwatch(self, handover: Handover) -> None:
        """Stop looking after the memory of a driver."""
        lost = handover.memory.lost_fd if handover.memory is not None else None
        if lost is not None:
            self._loop.remove_reader(lost)

    def _lose(self, handover: Handover) -> None:
        """Hang up on a driver whose memory went away."""
        log.warning("huge pages of a driver's memory went away: it is detached")
        self.drop(handover)


def refuse(handover: Handover, error: VirtmeshError) -> None:
    """Answer with an error."""
    answer(handover, pb.HandoverResponse(error_reason=error.reason, error_message=error.message))


def answer(handover: Handover, response: pb.HandoverResponse) -> None:
    """Send an answer. A driver that has gone, or does not read, does not get it."""
    with suppress(OSError):
        handover.connection.send(
            response.SerializeToString(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        )


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
                connection, PACKET_LIMIT_BYTES, SCM_MAX_FD, RECEIVE
            )
            close_all(descriptors)
            if not (data or descriptors):
                return
