"""The far end of a serial line in the same process, without a service. It keeps all output.

end = LineEnd(device.line)
await end.until(5)
assert end.heard == b"hello"
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh.uart.port import Line, LineFormat, PortLines


class LineEnd:
    """A listener (virtmesh.uart.port.PortListener) that keeps everything."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.heard = bytearray()
        self.port_lines: list[PortLines] = []
        self.formats: list[LineFormat] = []
        self._news = asyncio.Event()
        line.connect(self)

    async def until(self, count: int) -> bytes:
        """Wait until `count` characters have arrived. Returns all characters."""
        while len(self.heard) < count:
            await self.news()
        return bytes(self.heard)

    async def news(self) -> None:
        """Wait until the machine sends output or changes its lines or format."""
        self._news.clear()
        await self._news.wait()

    def output(self, characters: bytes) -> None:
        """Keep characters."""
        self.heard += characters
        self._news.set()

    def port_lines_changed(self, lines: PortLines) -> None:
        """Keep a change of the lines."""
        self.port_lines.append(lines)
        self._news.set()

    def format_changed(self, line_format: LineFormat) -> None:
        """Keep a change of the format."""
        self.formats.append(line_format)
        self._news.set()
