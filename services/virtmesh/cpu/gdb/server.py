"""The TCP port for debuggers: of this host only, one debugger at a time.

A debugger that vanishes leaves nothing behind: its breakpoints are taken away, and a CPU that ran
before it came runs on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from virtmesh.cpu.gdb.packets import PacketReader, encode
from virtmesh.cpu.gdb.session import GdbSession
from virtmesh_common.errors import AddressTaken, VirtmeshError

if TYPE_CHECKING:
    from virtmesh.cpu.gdb.packets import Packet
    from virtmesh.cpu.machine import CpuMachine

log = structlog.get_logger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
READ_BYTES = 1 << 14


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
        self._busy = False
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
        """Serve one debugger to its end."""
        if self._busy:
            writer.close()
            return
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._busy = True
        session = GdbSession(self._machine)
        try:
            await session.begin()
            log.info("a debugger has attached")
            await Conversation(session, reader, writer).run()
        except (VirtmeshError, OSError, ValueError) as error:
            log.warning("a debugger is hung up on", why=str(error))
        finally:
            self._busy = False
            with suppress(VirtmeshError):
                await session.end()
            writer.close()
            log.info("the debugger has left")


class Conversation:
    """The packets of one debugger: answers in order, and what the CPU does meanwhile."""

    def __init__(
        self, session: GdbSession, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._session = session
        self._reader = reader
        self._writer = writer
        self._running: asyncio.Task[None] | None = None
        """Waits for the CPU to stop, after the debugger let it run."""

    async def run(self) -> None:
        """Talk until the debugger leaves. Errors: OSError; ValueError for what is no packet."""
        packets = PacketReader()
        try:
            while not self._session.ended:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    return
                for packet in packets.feed(data):
                    await self._take(packet)
        finally:
            if self._running is not None:
                self._running.cancel()

    async def _take(self, packet: Packet | None) -> None:
        """Handle one packet; None is Ctrl-C."""
        if packet is None:
            await self._session.interrupt()
            return
        if self._session.wants_acks:
            self._writer.write(b"+" if packet.is_whole else b"-")
        if not packet.is_whole:
            return
        answer = await self._session.answer(packet.data)
        if answer is not None:
            await self._send(answer)
        elif not self._session.ended:
            self._running = asyncio.create_task(self._tell_stop(), name="gdb stop")

    async def _tell_stop(self) -> None:
        """Tell when the CPU stops."""
        with suppress(VirtmeshError, OSError):
            await self._send(await self._session.stopped())

    async def _send(self, answer: bytes) -> None:
        """Send a packet. Errors: OSError."""
        self._writer.write(encode(answer))
        await self._writer.drain()
