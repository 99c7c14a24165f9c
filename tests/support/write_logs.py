"""Logs of writes for tests, as the disk makes them and as dm-log-writes does."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_client.powerloss.log import fingerprint

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512
MAGIC = 0x6A736677736872


@dataclass
class LogMaker:
    """Makes a log of a disk. Requests begin and end as the test says; sectors have 512 bytes."""

    sectors: int
    is_own: bool = True
    """Like the disk's, with times; else like that of dm-log-writes."""
    clock: int = 1
    entries: list[bytes] = field(default_factory=list)

    def tick(self) -> int:
        """Return the time, which goes on."""
        self.clock += 1
        return self.clock

    def write(
        self, sector: int, data: bytes, begun: int | None = None, *, flags: int = 0, extra: int = 0
    ) -> None:
        """Add a write that ends now. It began then, or now."""
        begun = self.tick() if begun is None else begun
        count = len(data) // SECTOR
        self.entries.append(self._entry((sector, count, flags), begun, extra) + data)

    def discard(self, sector: int, count: int) -> None:
        """Add a discard."""
        self.entries.append(self._entry((sector, count, 4), self.tick(), 1))

    def begin_flush(self) -> int:
        """Add a flush that begins now; returns its time."""
        begun = self.tick()
        self.entries.append(self._entry((0, 0, 1), begun, 0))
        return begun

    def end_flush(self, begun: int) -> None:
        """Say that a flush has ended."""
        text = b"virtmesh:flushed"
        self.entries.append(self._entry((0, 0, 8), begun, 4, text))

    def flush(self) -> None:
        """Add a flush, from beginning to end."""
        begun = self.begin_flush()
        if self.is_own:
            self.end_flush(begun)

    def mark(self, text: str) -> None:
        """Add a mark."""
        data = text.encode()
        self.entries.append(self._entry((0, 0, 8), self.tick(), 0, data))

    def save(self, path: Path, base: Path) -> Path:
        """Write the log of a disk that was as `base`."""
        first = struct.pack("<QQQI", MAGIC, 1, len(self.entries), SECTOR).ljust(448, b"\0")
        if self.is_own:
            with base.open("rb", buffering=0) as image:
                number = fingerprint(image, self.sectors * SECTOR)
            first += struct.pack("<8sQQQ", b"virtmesh", self.sectors * SECTOR, number, SECTOR)
        path.write_bytes(first.ljust(SECTOR, b"\0") + b"".join(self.entries))
        return path

    def _entry(
        self, about: tuple[int, int, int], begun: int, extra: int, text: bytes = b""
    ) -> bytes:
        """Return the description of an entry: first sector, sectors and flags, then our own."""
        header = (struct.pack("<QQQQ", *about, len(text)) + text).ljust(448, b"\0")
        if self.is_own:
            header += struct.pack("<8sQQQ", b"virtmesh", begun, self.tick(), extra)
        return header.ljust(SECTOR, b"\0")
