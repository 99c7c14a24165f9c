"""A unix socket by which strangers hand descriptors over, in one packet, for a ticket.

Input is hostile until it is checked: packets and control data can be truncated, and descriptors can
be too many, too few, or of any kind. Every received descriptor is owned by a `Visitor`, and is
closed by a thread that nobody waits for.

Invariant: a connection is in `_visitors` from `accept` until it is closed, and counts as pending
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
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from virtmesh.rpc.strangers import SCM_MAX_FD, close_all, hang_up, has_room, peer_of, who_leaves
from virtmesh.rpc.unix_listener import ACCEPT_PAUSE_SECONDS, UnixListener
from virtmesh_common.errors import MemoryRefused, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from virtmesh.rpc.peers import Peers

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
PACKET_LIMIT_BYTES = 64 << 10
PACKET_LIMIT_BYTES = 64 << 10
"""Largest packet (handover.proto)."""
RECEIVE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
"""Flags of a read that waits for nobody, whatever those of the socket are."""


class Visitor:
    """A connection, and the descriptors that came by it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.peer = peer_of(connection)
        self.ticket = ""
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

    def make_ticket(self) -> None:
        """Make the ticket: nobody can guess it."""
        self.ticket = secrets.token_urlsafe(24)

    def release(self) -> None:
        """Let go of what was made of the descriptors, before the connection is closed."""

    def close(self) -> None:
        """Close the connection and every descriptor."""
        if self.timer is not None:
            self.timer.cancel()
        close_all(self._descriptors)
        self._descriptors = ()
        self.release()
        discard_unread(self.connection)
        hang_up(self.connection)
        if not self.gone.done():
            self.gone.set_result(None)


V = TypeVar("V", bound=Visitor)


class Door(ABC, Generic[V]):
    """A listening unix socket of the type SOCK_SEQPACKET.

    `option` is the command-line option that sets the path, for messages; `peers` says whose
    processes may connect, None: whoever can open the socket.
    """

    pending_limit = PENDING_LIMIT
    """Most connections that wait to be attached."""
    visitors = "drivers"
    """What connects, for messages."""
    crowded: type[VirtmeshError] = MemoryRefused
    """The error of one that makes room for others."""

    def __init__(
        self, path: Path, *, option: str, peers: Peers | None, pending_seconds: float
    ) -> None:
        self.path = path
        self.peers = peers
        self._option = option
        self._pending_seconds = pending_seconds
        self._visitors: dict[V, None] = {}
        """In the order in which they came."""
        self._loop = asyncio.get_running_loop()
        self._listener: UnixListener | None = None

    @abstractmethod
    def make_visitor(self, connection: socket.socket) -> V:
        """Make the record of a connection."""

    @abstractmethod
    def take(self, visitor: V, data: bytes, flags: int, count: int) -> bytes:
        """Check a request with `count` descriptors; return the answer. Errors: VirtmeshError."""

    @abstractmethod
    def spell_refusal(self, error: VirtmeshError) -> bytes:
        """Return the answer that tells of an error."""

    @abstractmethod
    def missing(self) -> VirtmeshError:
        """Return the error for a ticket that nothing was handed over for."""

    def listen(self) -> None:
        """Begin to accept connections. Errors: AddressTaken."""
        self._listener = UnixListener(self.path, socket.SOCK_SEQPACKET, option=self._option)
        self._resume()

    def find(self, ticket: str) -> V:
        """Return who has a ticket. Errors: as `missing` makes."""
        for visitor in self._visitors:
            if visitor.ticket and secrets.compare_digest(visitor.ticket.encode(), ticket.encode()):
                return visitor
        raise self.missing()

    def drop(self, visitor: V) -> None:
        """Close a connection."""
        if visitor in self._visitors:
            del self._visitors[visitor]
            self._loop.remove_reader(visitor.connection.fileno())
            visitor.close()

    def close(self) -> None:
        """Stop listening, close every connection and remove the socket."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener.socket.fileno())
            self._listener.remove()
            self._listener.close()
            self._listener = None
        for visitor in list(self._visitors):
            self.drop(visitor)

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
            log.warning("descriptors of strangers can't be closed: nobody can hand more over")
            hang_up(connection)
            return
        visitor = self.make_visitor(connection)
        visitor.refusal = self.peers.refusal(connection) if self.peers else None
        seconds = self._pending_seconds
        if visitor.refusal is not None:
            seconds = REFUSED_SECONDS
            refused = sum(other.refusal is not None for other in self._visitors)
            if refused >= REFUSED_LIMIT:
                self._refuse(visitor, visitor.refusal)
                visitor.close()
                return
        self._visitors[visitor] = None
        self._make_room()
        if visitor in self._visitors:
            self._loop.add_reader(connection.fileno(), self._read, visitor)
            visitor.timer = self._loop.call_later(seconds, self._expire, visitor)

    def _make_room(self) -> None:
        """Let go of a connection if too many wait: of who has most of them, the oldest."""
        waiting = [one for one in self._visitors if not one.attached and one.refusal is None]
        if len(waiting) <= self.pending_limit:
            return
        leaves = waiting[who_leaves([visitor.peer for visitor in waiting])]
        log.warning(
            "too many are attaching: one leaves", who=self.visitors, process=leaves.peer.process
        )
        self._refuse(
            leaves,
            self.crowded(
                f"{self.pending_limit} {self.visitors} are attaching already, and this one is the"
                " oldest of the process that has most of them: try again later"
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

    def _expire(self, visitor: V) -> None:
        """Close a connection that was not attached in time."""
        if not visitor.attached:
            if visitor.refusal is not None:
                self._refuse(visitor, visitor.refusal)
            self.drop(visitor)

    def _read(self, visitor: V) -> None:
        """Read a packet: the request, or the end of the connection (until a channel reads it)."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                visitor.connection, PACKET_LIMIT_BYTES, SCM_MAX_FD, RECEIVE
            )
        except BlockingIOError:
            return
        except OSError:
            self.drop(visitor)
            return
        nothing = not (data or descriptors)  # The end, or an empty packet: a request of nothing.
        if visitor.ticket or (nothing and has_ended(visitor.connection)):
            # The end, or a packet after the request, which the protocol does not allow.
            close_all(descriptors)
            self.drop(visitor)
            return
        visitor.own(descriptors)
        taken = False
        try:
            self._check(visitor)
            answer = self.take(visitor, data, flags, len(descriptors))
            self._answer(visitor, answer)
            taken = True
        except VirtmeshError as error:
            log.info("refused a handover", reason=error.reason, message=error.message)
            self._refuse(visitor, error)
        except Exception:  # Whatever a stranger brought about: its connection ends, and no other.
            log.exception("a handover failed")
        finally:
            if not taken:
                self.drop(visitor)

    def _check(self, visitor: V) -> None:
        """Refuse a stranger. Errors: PeerRefused."""
        if visitor.refusal is not None:
            raise visitor.refusal

    def _refuse(self, visitor: V, error: VirtmeshError) -> None:
        """Answer with an error."""
        self._answer(visitor, self.spell_refusal(error))

    def _answer(self, visitor: V, answer: bytes) -> None:
        """Send an answer. Who does not read, or has gone, does not get it."""
        with suppress(OSError):
            visitor.connection.send(answer, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


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
