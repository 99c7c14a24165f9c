"""Requests of the back end to a vhost-user front end ("Back-end communication").

Each request waits at most once to be sent: a front end that reads late learns that something
changed, but not how often. In-band notifications want an answer, and are not repeated before it
arrives.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from virtmesh.rpc.strangers import close_all, take_no_descriptors
from virtmesh.vhost_user.messages import HEADER, NEED_REPLY, U64, VERSION, VringState
from virtmesh_common.errors import FrontEndViolation

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.vhost_user.messages import BackendRequest

Outgoing = tuple["BackendRequest", int | None]
"""A request, and the index of the ring that it is about."""

ANSWER_BYTES = HEADER.size + U64.LAYOUT.size


class BackendChannel:
    """The socket that a front end sent for requests. `failed` gets the error that ends it."""

    def __init__(self, descriptor: int, failed: Callable[[Exception], None]) -> None:
        """Take ownership of the descriptor. Errors: FrontEndViolation if it is no stream socket."""
        try:
            self._socket = socket.socket(fileno=descriptor)
        except OSError as error:
            close_all([descriptor])
            raise FrontEndViolation("the descriptor of SET_BACKEND_REQ_FD is no socket") from error
        if (self._socket.family, self._socket.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
            close_all([self._socket.detach()])
            raise FrontEndViolation("the socket of SET_BACKEND_REQ_FD is no unix stream socket")
        take_no_descriptors(self._socket)
        self._socket.setblocking(False)  # noqa: FBT003 - as socket has it
        self._failed = failed
        self._waiting: list[Outgoing] = []
        self._unanswered: list[Outgoing] = []
        self._answers = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket.fileno(), self._read)

    def send(self, request: BackendRequest, ring: int | None = None) -> None:
        """Send a request, unless it waits to be sent already. With a ring it wants an answer."""
        if (request, ring) not in self._waiting:
            self._waiting.append((request, ring))
        self._flush()

    def close(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
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
                    HEADER.pack(request, flags, len(payload)) + payload, socket.MSG_NOSIGNAL
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
        self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        """Read an answer."""
        try:
            data = self._socket.recv(ANSWER_BYTES - len(self._answers))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._answers += data
        if len(self._answers) < ANSWER_BYTES:
            return
        request, _, size = HEADER.unpack_from(self._answers)
        self._answers = b""
        answered = [one for one in self._unanswered if one[0] == request]
        if size != U64.LAYOUT.size or not answered:
            self.close()
            self._failed(FrontEndViolation(f"an answer to a request {request} that was not made"))
            return
        self._unanswered.remove(answered[0])
        self._flush()
