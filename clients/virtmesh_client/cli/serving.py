"""A server that a command runs: Ctrl-C is its ordinary end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def serve_until_signal(serving: Coroutine[object, object, object]) -> None:
    """Run until SIGINT or SIGTERM, which cancel it; the next one ends the process."""
    work = asyncio.ensure_future(serving)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        work.cancel()

    with contextlib.suppress(NotImplementedError):  # on Windows, Ctrl-C raises KeyboardInterrupt
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await work
