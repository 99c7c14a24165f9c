"""How a driver notifies queues: by eventfd, or by a call that merges notifications."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from virtmesh_native import Bells

from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence


class DoorbellKind(StrEnum):
    """How a driver rings a queue."""

    EVENTFD = "eventfd"
    """Through the kick eventfd of the queue, on one host."""
    MMIO = "mmio"
    """By writing QueueNotify, as a batch of the register stream."""
    RPC = "rpc"
    """By the Notify RPC."""


class Notifier(Protocol):
    """Notifies queues. Notifying never waits."""

    def ring(self, queue: int) -> None:
        """Tell the device that a queue has available buffers."""

    def close(self) -> None:
        """Stop notifying."""


class EventfdNotifier:
    """Signals the kick eventfd of a queue. It does not own the descriptors.

    The device has them as well, and can fill a counter and make it blocking: nobody waits for it.
    """

    def __init__(self, kicks: Mapping[int, int]) -> None:
        self._bells: Bells | None = Bells(kicks)

    def ring(self, queue: int) -> None:
        """Signal the eventfd, unless it is closed."""
        if self._bells is not None:
            self._bells.ring(queue)

    def close(self) -> None:
        """Let go of what signals: it has descriptors of its own."""
        self._bells = None


class CallNotifier:
    """Notifies by awaiting `call` with the indexes of the queues, one call at a time.

    Calls run in a task of their own, so a notification is not lost if the task that made it is
    cancelled. Notifications during a call are merged into the next one. When a call fails, `failed`
    gets the error and no more calls are made.
    """

    def __init__(
        self,
        call: Callable[[Sequence[int]], Awaitable[object]],
        failed: Callable[[VirtmeshError], None],
    ) -> None:
        self._call = call
        self._failed = failed
        self._rung: set[int] = set()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="doorbell")

    def ring(self, queue: int) -> None:
        """Add the queue to the next call."""
        self._rung.add(queue)
        self._news.set()

    def close(self) -> None:
        """Stop notifying."""
        self._task.cancel()

    async def _run(self) -> None:
        """Call whenever queues were added."""
        try:
            while await self._news.wait():
                self._news.clear()
                queues, self._rung = sorted(self._rung), set()
                await self._call(queues)
        except VirtmeshError as error:
            self._failed(error)
