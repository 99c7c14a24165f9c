"""A malicious driver of each kind of device: the mistakes are chosen by coverage."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.draw import Draw
from tests.fuzz.loop import Loop
from tests.fuzz.target import Target
from tests.support.device_kinds import KINDS
from virtmesh.attach.guest_ram import Ram
from virtmesh.testing.malicious import Dialogue, local, mutate, record, replay

RAM_BYTES = 1 << 20
PATIENCE = 10.0


class Chosen(random.Random):
    """Random numbers that an input chooses."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(0)
        self._draw = draw

    def getrandbits(self, k: int, /) -> int:
        """Return so many bits of the input; those of a generator behind its end."""
        if self._draw.is_empty:
            return super().getrandbits(k)
        return self._draw.number((k + 7) // 8) & (1 << k) - 1

    def random(self) -> float:
        """Return a fraction."""
        return self.getrandbits(16) / (1 << 16)


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Make a device of each kind, and record a dialogue."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, Loop() as loop:
        names = list(KINDS)
        devices, dialogues = {}, dict[str, Dialogue]()

        async def prepare() -> None:
            for name, kind in KINDS.items():
                devices[name] = kind.make(Path(folder))
                with Ram(RAM_BYTES) as ram:
                    async with local(devices[name])(ram) as bus:
                        dialogues[name] = await record(bus, kind.driver, kind.use)

        async def attack(data: bytes) -> None:
            draw = Draw(data)
            name = draw.choose(names)
            changed = mutate(dialogues[name], Chosen(draw))
            kind = KINDS[name]
            await replay(local(devices[name]), changed, kind.driver, kind.use, patience=PATIENCE)

        loop.run(prepare())
        yield lambda data: loop.run(attack(data))


TARGET = Target(opened, longest=128)
