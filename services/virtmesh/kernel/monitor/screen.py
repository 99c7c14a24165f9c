"""What is shown at a tty: output of commands, echo, and what the kernel has to say in between."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from virtmesh.kernel.monitor.line_editor import LineEditor
    from virtmesh.kernel.tty import Tty

ERASE_LINE = "\r\x1b[K"
"""Go to the beginning of the line and erase it (ECMA-48, EL)."""


class Screen:
    """The output of a session. A write waits for room in the driver's queue, and lines stay whole.

    Errors of all methods: VirtmeshError when the tty is lost.
    """

    def __init__(self, tty: Tty, editor: LineEditor) -> None:
        self.echo = True
        """False when what is typed is not to be shown."""
        self._tty = tty
        self._editor = editor
        self._turn = asyncio.Lock()
        self._quiet = asyncio.Lock()
        self._editing = False

    async def write(self, text: str) -> None:
        """Write text, with newlines where lines end. What can't be encoded becomes `?`."""
        async with self._turn:
            await self._send(text)

    async def prompt(self) -> None:
        """Show the prompt: a line is being edited from here on."""
        async with self._turn:
            self._editing = True
            await self._send(self._editor.redraw() if self.echo else self._editor.prompt)

    async def show_typed(self, text: str, *, ended: bool) -> None:
        """Echo what was typed; the line may be ended by it."""
        async with self._turn:
            self._editing = not ended
            await self._send(text if self.echo else "\n" * ended)

    async def write_log(self, lines: Sequence[str]) -> None:
        """Write lines of the boot log, above the line that is being edited."""
        async with self._quiet, self._turn:
            shown = self._editor.redraw() if self.echo else self._editor.prompt
            before, behind = (ERASE_LINE, shown) if self._editing else ("", "")
            await self._send(before + "".join(f"{line}\n" for line in lines) + behind)

    @asynccontextmanager
    async def undisturbed(self) -> AsyncIterator[None]:
        """Hold the boot log back for a while."""
        async with self._quiet:
            yield

    async def _send(self, text: str) -> None:
        """Send text as the terminal wants it."""
        if text:
            await self._tty.write(text.replace("\n", "\r\n").encode("utf-8", "replace"))
