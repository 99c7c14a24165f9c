"""A time limit that also holds while a task is being cancelled.

A task cleans up after a cancellation: it tells the device, it waits for a child. There too a limit
must end in TimeoutError, so that the rest of the cleaning up is done. asyncio.timeout raises
CancelledError there before Python 3.11.3 (python/cpython#102780), and Debian 12 has 3.11.2.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Run the block for so long at most. Errors: TimeoutError, when it was cut short.

    A cancellation that comes while the block runs passes through, as from asyncio.timeout.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a time limit needs a task")
    before = task.cancelling()
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except asyncio.CancelledError:
        if limit.expired() and task.cancelling() <= before:
            raise TimeoutError from None
        raise
