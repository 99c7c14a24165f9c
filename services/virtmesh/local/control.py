"""The socket in the run folder by which a supervisor is asked (virtmesh_common.supervision)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self

from virtmesh.rpc.peers import OWN_USER, UCRED
from virtmesh_common.errors import BadRequest, LimitReached, VirtmeshError
from virtmesh_common.security.errors import PeerRefused
from virtmesh_common.supervision import (
    REQUEST_BYTES_MAX,
    Restarted,
    decode_request,
    encode_answer,
)
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

CONNECTIONS_MAX = 8
"""Most requests at a time."""
REQUEST_SECONDS = 5.0
"""How long a request may take to come, and an answer to be taken."""


class ControlSocket:
    """Answers requests, in an `async with`."""

    def __init__(
        self,
        path: Path,
        restart: Callable[[str], Awaitable[Restarted]],
        refused: Callable[[], Collection[int]],
    ) -> None:
        """Prepare it. `refused` has the processes that may ask for nothing: those of devices."""
        self._path = path
        self._restart = restart
        self._refused = refused
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen. Errors: OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a supervisor that was killed: the run folder is locked
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(
                self._accept, sock=listener, limit=REQUEST_BYTES_MAX, backlog=CONNECTIONS_MAX
            )
        except BaseException:
            listener.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End it: nobody is answered any more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a connection."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection needs a task")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, TimeoutError):
                answer = await self._answer(reader, writer)
                writer.write(encode_answer(answer))
                async with time_limit(REQUEST_SECONDS):
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Restarted | VirtmeshError:
        """Do what is asked. Errors: TimeoutError for a peer that says nothing; OSError."""
        try:
            if len(self._tasks) > CONNECTIONS_MAX:
                raise LimitReached(
                    f"{CONNECTIONS_MAX} requests are under way: try again", limit="restarts"
                )
            self._check_peer(writer.get_extra_info("socket"))
            try:
                async with time_limit(REQUEST_SECONDS):
                    line = await reader.readline()
            except ValueError:
                raise BadRequest(
                    f"a request has at most {REQUEST_BYTES_MAX} bytes, and a line feed"
                ) from None
            return await self._restart(decode_request(line))
        except VirtmeshError as error:
            return error

    def _check_peer(self, connection: socket.socket) -> None:
        """Refuse strangers, and devices: one that is broken ends no other. Errors: PeerRefused."""
        OWN_USER.check(connection)
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        if UCRED.unpack(found)[0] in self._refused():
            raise PeerRefused("the service of a device may not ask for restarts")
