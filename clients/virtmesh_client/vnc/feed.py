"""Follows the screen: brings what changes to the canvas, and goes on when the GPU comes back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.aio.threads import run
from virtmesh_client.vnc.rects import Rect
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.screen.aio import AsyncScreen
    from virtmesh_client.screen.update import Update
    from virtmesh_client.vnc.display import Display
    from virtmesh_client.vnc.options import VncOptions

FIRST_RETRY, LAST_RETRY = 0.1, 2.0
"""Seconds until the screen is watched again: after the first failure, and after many."""


class Feed:
    """Feeds the display of one viewer. `wake` is called when there is something new for it."""

    def __init__(
        self,
        screen: AsyncScreen,
        display: Display,
        lock: asyncio.Lock,
        options: VncOptions,
        wake: Callable[[], None],
    ) -> None:
        self._screen = screen
        self._display = display
        self._lock = lock
        self._options = options
        self._wake = wake
        self._is_lost = False

    async def run(self) -> None:
        """Watch the screen until the task is cancelled."""
        delay = FIRST_RETRY
        while True:
            before = self._display.updates
            try:
                await self._watch()
                self._lose("its service has stopped")
            except VirtmeshError as error:
                self._lose(error.message)
            delay = FIRST_RETRY if self._display.updates > before else min(delay * 2, LAST_RETRY)
            await asyncio.sleep(delay)

    async def _watch(self) -> None:
        """Take updates. Errors: VirtmeshError."""
        # Twice as often as the viewer is sent updates, so that none of those waits for the next.
        rate = 2 * self._options.updates_per_second
        # It is told to the viewers when the screen is away: see `run`.
        watch = self._screen.watch(self._options.scanout, updates_per_second=rate, retry_for=0)
        async with watch as updates:
            async for update in updates:
                await self._take(update)

    async def _take(self, update: Update) -> None:
        """Bring an update to the canvas, and tell the display."""
        display = self._display
        async with self._lock:
            before = display.canvas.cursor
            await run(partial(display.canvas.apply, update))
        display.updates += 1
        display.is_ready = True
        if update.is_new:
            display.change_all()
        else:
            display.damage([Rect(one.x, one.y, one.width, one.height) for one in update.changes])
        if update.cursor is not None:
            display.change_cursor(before, update.cursor)
        if self._is_lost:
            self._is_lost = False
            self._options.tell(f"{self._screen.name} is back")
        display.notes.set_name(
            self._screen.name if update.width else f"{self._screen.name} (nothing is shown)"
        )
        self._wake()

    def _lose(self, why: str) -> None:
        """Tell, once, that nothing more comes."""
        if not self._is_lost:
            self._is_lost = True
            self._options.tell(f"{self._screen.name} is lost: {why}")
            self._display.notes.set_name(f"{self._screen.name} (lost)")
            self._display.is_ready = True
            self._wake()
