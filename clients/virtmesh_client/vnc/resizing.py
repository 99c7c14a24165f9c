"""Carries out a viewer's wish for another size; the newest, if there are several."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh_client.vnc.spec import SizeStatus
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.screen.aio import AsyncScreen
    from virtmesh_client.vnc.notes import Notes
    from virtmesh_client.vnc.options import VncOptions


class Resizing:
    """Sets the mode of the screen, and puts the answer to the notes."""

    def __init__(
        self, screen: AsyncScreen, notes: Notes, options: VncOptions, wake: Callable[[], None]
    ) -> None:
        self._screen = screen
        self._notes = notes
        self._options = options
        self._wake = wake
        self._size: tuple[int, int] | None = None
        self._wished = asyncio.Event()

    def wish(self, width: int, height: int) -> None:
        """Set a mode soon."""
        self._size = width, height
        self._wished.set()

    async def run(self) -> None:
        """Set modes until the task is cancelled."""
        while True:
            await self._wished.wait()
            self._wished.clear()
            size, self._size = self._size, None
            if size is not None:
                self._notes.answer_size(await self._set(*size))
                self._wake()

    async def _set(self, width: int, height: int) -> SizeStatus:
        """Set a mode; return what to tell the viewer. A size of 0 would disconnect the screen."""
        if not width or not height:
            return SizeStatus.INVALID_LAYOUT
        try:
            await self._screen.set_mode(width, height, self._options.scanout)
        except VirtmeshError as error:
            self._options.tell(f"the size {width}x{height} is refused: {error.message}")
            return SizeStatus.INVALID_LAYOUT
        return SizeStatus.FORWARDED
