"""A client that writes versions to its part of a disk, reads them back, and flushes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.soak.actors.actor import Actor
from tests.soak.page_cache import dirty_pages
from tests.soak.sectors import ANYTHING, SECTOR, ZEROES, Sectors

if TYPE_CHECKING:
    from tests.soak.actors.actor import World
    from virtmesh_client.blk.disk import Disk
    from virtmesh_common.errors import VirtmeshError

AREA = 2 << 20
"""Bytes that each writer has for itself."""
BLOCK = 4096
SIZES = (SECTOR, BLOCK, 16 << 10, 64 << 10)
PLAIN = ("write", "write", "write", "read", "read", "flush")
KINDS = (*PLAIN, "zero", "discard")


class Writer(Actor):
    """Writes to an area of its own, and knows what must be there.

    Number 0 is a plain one: it makes no holes, so that the host can say of its area what a flush
    has left in the page cache. Of pages that fallocate(2) has cut, Linux says that they are dirty
    when fdatasync(2) of another thread went on meanwhile, though nothing is left to write.
    """

    role = "writer"

    def __init__(self, world: World, device: str, number: int) -> None:
        super().__init__(world, device, number)
        self.sectors = Sectors(world.seed, number * AREA // SECTOR, AREA // SECTOR)
        self.account: Counter[str] = Counter()
        """What the disk did in the round: bytes by type of request, and flushes."""
        self._start = number * AREA
        self._makes_holes = number > 0
        self._disk: Disk
        self._image = world.cli.folder / f"{device}.img"
        self._change: tuple[int, int, int] | None = None
        """Sectors and version of the change that is under way."""

    def begin(self) -> None:
        """Find the disk."""
        self._disk = self.machine.disk(self.device)

    def step(self) -> None:
        """Do one operation."""
        self.operation = kind = self.chance.choice(KINDS if self._makes_holes else PLAIN)
        size = self.chance.choice(SIZES)
        at = self.chance.randrange(0, AREA - size, BLOCK if size >= BLOCK else SECTOR)
        begin = self.journal.now()
        moved = size
        if kind == "write":
            self._write(at, size)
        elif kind == "read":
            self._read(at, size)
        elif kind == "flush":
            self._flush()
            moved = 0
        elif kind == "zero":
            self._change = at // SECTOR, size // SECTOR, ZEROES
            self._disk.write_zeroes(self._start + at, size)
            self._settle("WRITE_ZEROES", size)
        else:
            self._change = at // SECTOR, size // SECTOR, ANYTHING
            self._disk.discard(self._start + at, size)
            self._settle("DISCARD", size)
            self._write(at, size)  # what is there after a discard, nobody promises
        self.did(kind, begin, moved)

    def failed(self, error: VirtmeshError) -> None:
        """Remember that a change may be there, or may not.

        A request that an ordered fault failed was not executed: what was there is there.
        """
        cause = error.metadata.get("cause", "")
        if cause == "INJECTED":
            with self.world.lock:
                self.world.injected[self.device, 0, cause] += 1
        elif self._change is not None:
            self.sectors.may_have_written(*self._change)
        self._change = None

    def end(self) -> None:
        """Read everything once more."""
        self.operation = "last read"
        begin = self.journal.now()
        for at in range(0, AREA, 64 << 10):
            self._read(at, 64 << 10)
        self.did("last read", begin, AREA)

    def check_image(self) -> None:
        """Look at the image itself, when the machine has stopped."""
        with self._image.open("rb") as image:
            image.seek(self._start)
            for line in self.sectors.check(0, image.read(AREA)):
                self.wrong(f"in the image, {line}")

    def _write(self, at: int, size: int) -> None:
        version, data = self.sectors.make(at // SECTOR, size // SECTOR)
        self._change = at // SECTOR, size // SECTOR, version
        self._disk.write(self._start + at, data)
        self._settle("OUT", size)

    def _settle(self, kind: str, size: int) -> None:
        self.account[kind] += size
        if self._change is not None:
            self.sectors.wrote(*self._change)
        self._change = None

    def _read(self, at: int, size: int) -> None:
        data = self._disk.read(self._start + at, size)
        self.account["IN"] += size
        for line in self.sectors.check(at // SECTOR, data):
            self.wrong(line)

    def _flush(self) -> None:
        """Flush; then nothing of a plain area may wait in the page cache of the host."""
        self._disk.flush()
        self.account["FLUSH"] += 1
        if not self._makes_holes and (dirty := dirty_pages(self._image, self._start, AREA)):
            self.wrong(f"after a flush of {self.device}, {dirty} pages of {self.name} are dirty")
