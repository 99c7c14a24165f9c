"""The bytes of one viewer: what it sends within a time limit, what it gets in bounded pieces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from virtmesh_client.vnc.errors import ViewerError, ViewerLeft
from virtmesh_client.vnc.turns import Turns
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.vnc.options import VncOptions

PIECE = 64 << 10
"""Bytes that are written before the viewer has to have taken most of them."""


class Reader(Protocol):
    """What a viewer's bytes are read from: an `asyncio.StreamReader`, or what works like one."""

    async def readexactly(self, n: int, /) -> bytes:
        """Return so many bytes. Errors: asyncio.IncompleteReadError; OSError."""


class Writer(Protocol):
    """Where bytes for a viewer go: an `asyncio.StreamWriter`, or what works like one."""

    def write(self, data: bytes, /) -> None:
        """Take bytes."""

    async def drain(self) -> None:
        """Wait until the viewer has taken most of what was written. Errors: OSError."""

    def close(self) -> None:
        """Close the connection."""


class Connection:
    """Reads and writes. Errors of all methods: ViewerError; ViewerLeft."""

    def __init__(self, reader: Reader, writer: Writer, options: VncOptions) -> None:
        self._reader = reader
        self._writer = writer
        self._turns = Turns()
        self.options = options
        self.is_judged = False
        """True while the viewer waits for the judgement of its password, and not we for it."""

    async def read(self, size: int) -> bytes:
        """Return bytes in the middle of a message."""
        await self._turns.take()
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as short:
            raise ViewerError(
                f"it left in the middle of a message: {len(short.partial)} of {size} bytes came"
            ) from None
        except (OSError, EOFError) as error:
            raise ViewerLeft(str(error)) from None

    async def read_first(self) -> int:
        """Return the first byte of a message, however long it takes."""
        await self._turns.take()
        try:
            return (await self._reader.readexactly(1))[0]
        except (asyncio.IncompleteReadError, OSError, EOFError) as error:
            raise ViewerLeft(str(error)) from None

    async def write(self, pieces: Iterable[bytes]) -> None:
        """Write, and wait for the viewer to take it. It may stall for so long and no longer."""
        room = PIECE
        try:
            for data in pieces:
                for start in range(0, len(data), PIECE):
                    part = data[start : start + PIECE]
                    if len(part) > room:
                        await self._drain()
                        room = PIECE
                    room -= len(part)
                    self._writer.write(part)
            await self._drain()
        except OSError as error:
            raise ViewerLeft(str(error)) from None

    async def _drain(self) -> None:
        try:
            async with time_limit(self.options.stall_seconds):
                await self._writer.drain()
        except TimeoutError:
            raise ViewerError(f"it has read nothing for {self.options.stall_seconds:g} s") from None

    def close(self) -> None:
        """Close the connection. What the viewer has not taken by then may be lost."""
        self._writer.close()
