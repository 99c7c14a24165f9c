"""Waiting for a descriptor in the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


async def readable(file: int | socket.socket) -> None:
    """Wait until a descriptor has something to read, or has ended. For one waiter at a time."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(file, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(file)
