"""The packets of one debugger: answers in order, and what the CPU does meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.cpu.gdb.packets import PacketReader, encode
from virtmesh.cpu.gdb.session import FAILED, GdbSession
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from virtmesh.cpu.gdb.packets import Packet
    from virtmesh.cpu.machine import CpuMachine

READ_BYTES = 1 << 14
RESUMES = (b"c", b"C", b"s", b"S", b"vCont;")
"""Packets that make the CPU run: only Ctrl-C may follow, until its stop is told."""
FIRST_SECONDS = 10.0
"""How long a connection may be silent before its first packet."""


class Conversation:
    """A connection. `heard` tells whether a debugger is there; then `run` or `refuse`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packets = PacketReader()
        self._received: list[Packet | None] = []
        self._running: asyncio.Task[None] | None = None
        """Waits for the CPU to stop, after the debugger let it run."""

    async def heard(self) -> bool:
        """Wait for the first packet; False if none comes in time. Errors: OSError; ValueError."""
        try:
            async with time_limit(FIRST_SECONDS):
                while not any(one is not None and one.is_whole for one in self._received):
                    if not await self._receive():
                        return False
        except TimeoutError:
            return False
        return True

    async def refuse(self, why: str) -> None:
        """Answer the first packet with an error that GDB shows. Errors: OSError."""
        self._writer.write(b"+")
        await self._send(b"E." + why.encode())

    async def run(self, machine: CpuMachine) -> None:
        """Talk until the debugger leaves. Errors: OSError; ValueError for what is no packet."""
        session = GdbSession(machine)
        try:
            try:
                await session.begin()
            except VirtmeshError as error:
                await self.refuse(error.message)
                raise
            while not session.ended:
                received, self._received = self._received, []
                for packet in received:
                    await self._take(session, packet)
                    if session.ended:
                        return
                if not await self._receive():
                    return
        finally:
            if self._running is not None:
                self._running.cancel()
            with suppress(VirtmeshError):
                await session.end()

    async def _receive(self) -> bool:
        """Wait for more of the stream; False at its end. Errors: OSError; ValueError."""
        data = await self._reader.read(READ_BYTES)
        # Bounded: a packet has at least four bytes, and none is kept while one is answered.
        self._received += self._packets.feed(data)
        return bool(data)

    async def _take(self, session: GdbSession, packet: Packet | None) -> None:
        """Handle one packet; None is Ctrl-C. Errors: OSError."""
        if packet is None:
            await session.interrupt()
            return
        if session.wants_acks:
            self._writer.write(b"+" if packet.is_whole else b"-")
            await self._writer.drain()
        if not packet.is_whole:
            return
        if packet.data.startswith(RESUMES) and self._running and not self._running.done():
            await self._send(FAILED)
            return
        answer = await session.answer(packet.data)
        if answer is not None:
            await self._send(answer)
        elif not session.ended:
            self._running = asyncio.create_task(self._tell_stop(session), name="gdb stop")

    async def _tell_stop(self, session: GdbSession) -> None:
        """Tell when the CPU stops."""
        with suppress(VirtmeshError, OSError):
            await self._send(await session.stopped())

    async def _send(self, answer: bytes) -> None:
        """Send a packet. Errors: OSError."""
        self._writer.write(encode(answer))
        await self._writer.drain()
