"""The TCP port for debuggers: of this host only, one debugger at a time.

A connection becomes the debugger with its first packet: whoever else knocks, the guest runs on.
A debugger that vanishes leaves nothing behind: its breakpoints are taken away, and a CPU that ran
before it came, or that it let run, runs on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from virtmesh.cpu.gdb.conversation import Conversation
from virtmesh_common.errors import AddressTaken, VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh.cpu.machine import CpuMachine

log = structlog.get_logger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECTIONS_MAX = 8
"""Most connections at a time: one debugger, and others that have not spoken, or are refused."""
LEAVE_SECONDS = 1.0
"""How long a debugger waits for one that is just leaving."""


class GdbServer:
    """Serves the port. Errors: ValueError for an address of other hosts."""

    def __init__(self, address: str, machine: CpuMachine) -> None:
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        if self._host not in LOOPBACK:
            raise ValueError(
                f"{address}: a debugger can do anything to the guest: listen at 127.0.0.1:{port}"
            )
        self._port = int(port)
        self._machine = machine
        self._server: asyncio.Server | None = None
        self._attached = asyncio.Lock()
        """Held by the debugger."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; returns HOST:PORT. Errors: AddressTaken."""
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self._port)
        except OSError as error:
            raise AddressTaken(
                f"{self._host}:{self._port}: can't listen there for gdb: {error.strerror}"
            ) from error
        port: int = self._server.sockets[0].getsockname()[1]
        return f"{self._host}:{port}"

    async def close(self) -> None:
        """Hang up, and stop listening."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        conversation = Conversation(reader, writer)
        try:
            if await conversation.heard():
                await self._debug(conversation)
        except (VirtmeshError, OSError, ValueError) as error:
            log.warning("a debugger is hung up on", why=str(error))
        finally:
            writer.close()

    async def _debug(self, conversation: Conversation) -> None:
        """Serve a debugger, unless there is one. Errors: OSError; ValueError; VirtmeshError."""
        try:
            async with time_limit(LEAVE_SECONDS):
                await self._attached.acquire()
        except TimeoutError:
            await conversation.refuse("another debugger is attached to this machine")
            return
        log.info("a debugger attaches")
        try:
            await conversation.run(self._machine)
        finally:
            self._attached.release()
            log.info("the debugger has left")
