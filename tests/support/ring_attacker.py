"""A process that attacks the split rings of a device, in memory that it shares with its driver.

Usage: python ring_attacker.py WAY MEMORY KICKS RINGS

WAY is one of WAYS, MEMORY the descriptor of guest memory, KICKS the eventfds that ring the queues,
as a JSON list, and RINGS a JSON list of [descriptor area, driver area, device area, size], with
areas as offsets in memory. It says when it has begun, and goes on until it is killed. It imports
nothing of this tree: it starts fast.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    Ring: TypeAlias = tuple[int, int, int, int]

DESCRIPTOR = struct.Struct("<QIHH")
"""Address, length, flags, next (virtio 1.4, 2.7.5)."""
NEXT, WRITE = 1, 2
RAM_ADDRESS = 0x8000_0000
RANDOM = random.Random()  # noqa: S311 - no secret
KICKED_EVERY = 16
"""Changes between two kicks."""


def scribble(memory: mmap.mmap, ring: Ring) -> None:
    """Write anything anywhere into a ring."""
    descriptors, driver, device, size = ring
    parts = ((descriptors, 16 * size), (driver, 4 + 2 * size), (device, 4))
    start, length = RANDOM.choice(parts)
    place = start + RANDOM.randrange(length - 2)
    memory[place : place + 2] = RANDOM.randbytes(2)


def loop(memory: mmap.mmap, ring: Ring) -> None:
    """Offer chains that never end."""
    fill(memory, ring, ends=False)
    offer(memory, ring)


def flood(memory: mmap.mmap, ring: Ring) -> None:
    """Offer chains of all descriptors, each with all of memory, as soon as others were used."""
    fill(memory, ring, ends=True)
    offer(memory, ring)


def kick_only(_memory: mmap.mmap, _ring: Ring) -> None:
    """Change nothing."""


WAYS: dict[str, Callable[[mmap.mmap, Ring], None]] = {
    "scribble": scribble,
    "loop": loop,
    "flood": flood,
    "kick": kick_only,
}


def fill(memory: mmap.mmap, ring: Ring, *, ends: bool) -> None:
    """Make one chain of all descriptors: a header that is read, then memory that is written."""
    descriptors, _, _, size = ring
    for index in range(size):
        last = ends and index == size - 1
        flags = (0 if last else NEXT) | (WRITE if index else 0)
        length = len(memory) if index else 16
        memory[descriptors + 16 * index : descriptors + 16 * (index + 1)] = DESCRIPTOR.pack(
            RAM_ADDRESS, length, flags, (index + 1) % size
        )


def offer(memory: mmap.mmap, ring: Ring) -> None:
    """Make as many chains available as there is room for, all from the first descriptor on."""
    _, driver, device, size = ring
    memory[driver + 4 : driver + 4 + 2 * size] = bytes(2 * size)
    used = int.from_bytes(memory[device + 2 : device + 4], "little")
    memory[driver + 2 : driver + 4] = ((used + size) % (1 << 16)).to_bytes(2, "little")


def main() -> None:
    """Attack until killed."""
    way, descriptor, kicks, rings = sys.argv[1], *map(json.loads, sys.argv[2:])
    memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
    done = 0
    while True:
        for ring in rings:
            WAYS[way](memory, tuple(ring))
        if done % KICKED_EVERY == 0:
            for kick in kicks:
                with suppress(BlockingIOError):
                    os.eventfd_write(kick, 1)
        if done == KICKED_EVERY:
            sys.stdout.write("begun\n")
            sys.stdout.flush()
        done += 1


if __name__ == "__main__":
    main()
