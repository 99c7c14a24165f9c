"""Requests of the back end to a vhost-user front end ("Back-end communication").

Each request waits at most once to be sent: a front end that reads late learns that something
changed, but not how often. In-band notifications want an answer, and are not repeated before it
arrives.

The front end has the open file of the socket too, and what it does to it is hostile: a message is
sent without waiting whatever the flags say, and a thread reads the answers (`answers`), which only
in-band notifications have. Other bytes are left unread, in a buffer that the front end pays for.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from virtmesh_native import is_unix_stream

from virtmesh.rpc.strangers import close_all
from virtmesh.vhost_user.answers import AnswerReader
from virtmesh.vhost_user.messages import HEADER, NEED_REPLY, U64, VERSION, VringState
from virtmesh_common.errors import FrontEndViolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.vhost_user.messages import BackendRequest

Outgoing = tuple["BackendRequest", int | None]
"""A request, and the index of the ring that it is about."""


class BackendChannel:
    """The socket that a front end sent for requests. `failed` gets the error that ends it."""

    def __init__(self, descriptor: int, failed: Callable[[Exception], None]) -> None:
        """Take ownership of the descriptor. Errors: FrontEndViolation if it is no stream socket."""
        if not is_unix_stream(descriptor):
            close_all([descriptor])
            raise FrontEndViolation("what SET_BACKEND_REQ_FD brought is no unix stream socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
        self._failed = failed
        self._waiting: list[Outgoing] = []
        self._unanswered: list[Outgoing] = []
        self._reader: AnswerReader | None = None
        self._loop = asyncio.get_running_loop()

    def send(self, request: BackendRequest, ring: int | None = None) -> None:
        """Send a request, unless it waits to be sent already. With a ring it wants an answer."""
        if self._socket.fileno() < 0:
            return
        if (request, ring) not in self._waiting:
            self._waiting.append((request, ring))
        self._flush()

    def close(self) -> None:
        """Close the socket."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._socket.fileno() >= 0:
            self._loop.remove_writer(self._socket.fileno())
            close_all([self._socket.detach()])  # The front end may have this end as well.

    def _flush(self) -> None:
        """Send the waiting requests that the socket takes now."""
        for one in list(self._waiting):
            if one in self._unanswered:
                continue
            request, ring = one
            payload = b"" if ring is None else VringState(ring, 0).pack()
            flags = VERSION if ring is None else VERSION | NEED_REPLY
            try:
                # A message this small is sent whole or not at all.
                self._socket.send(
                    HEADER.pack(request, flags, len(payload)) + payload,
                    socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL,
                )
            except BlockingIOError:
                self._loop.add_writer(self._socket.fileno(), self._flush)
                return
            except OSError:
                self.close()  # The front end has closed its end: it wants no requests.
                self._waiting.clear()
                return
            self._waiting.remove(one)
            if ring is not None:
                self._unanswered.append(one)
                if not self._await_answer():
                    return
        self._loop.remove_writer(self._socket.fileno())

    def _await_answer(self) -> bool:
        """Have one answer more read. False if the connection fails."""
        try:
            if self._reader is None:
                self._reader = AnswerReader(self._socket.fileno(), self._take, self._loop)
            self._reader.expect()
        except (OSError, FrontEndViolation) as error:
            self.close()
            self._failed(error)
            return False
        return True

    def _take(self, answer: bytes) -> None:
        """Take an answer; b"": the front end has closed its end."""
        if self._socket.fileno() < 0:
            return
        if not answer:
            self.close()
            return
        request, _, size = HEADER.unpack_from(answer)
        answered = [one for one in self._unanswered if one[0] == request]
        if size != U64.LAYOUT.size or not answered:
            self.close()
            self._failed(FrontEndViolation(f"an answer to a request {request} that was not made"))
            return
        self._unanswered.remove(answered[0])
        self._flush()
