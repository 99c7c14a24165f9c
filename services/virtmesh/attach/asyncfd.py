"""Waits in the event loop until a file descriptor is readable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


async def readable(file: int | socket.socket) -> None:
    """Wait until a descriptor is readable or at its end. One task at a time may wait for it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(file, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file)
