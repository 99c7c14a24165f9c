"""The attack: rounds of mistakes, and the shortest dialogue of what they find."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from virtmesh.attach.guest_ram import Ram
from virtmesh.testing.malicious.broken import DeviceBroken, Problem
from virtmesh.testing.malicious.mutations import mutate
from virtmesh.testing.malicious.playing import Victim
from virtmesh.testing.malicious.recording import record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.base import Driver
    from virtmesh.testing.malicious.dialogue import Dialogue
    from virtmesh.testing.malicious.ways import Attach

RAM_BYTES = 4 << 20
"""Memory that the driver hands over, unless the caller wants another size."""
PATIENCE = 10.0
"""Seconds that a step may take, unless the caller is as patient as that."""
SHRINKING_MAX = 60
"""Most dialogues that are played to find the shortest one."""
CLOSING_PAUSE = 0.02
"""Seconds between two looks at descriptors that are still to be closed."""
LEAK_ROUNDS = 8
"""Fewer rounds say nothing about descriptors that are left behind."""


@dataclass(frozen=True)
class Report:
    """What an attack did that found nothing."""

    rounds: int
    steps: int
    """Steps of the dialogue that was changed."""
    refused: int
    """Register accesses that the device refused."""
    slowest_detach: float
    """Seconds of the longest detach, with the reset that belongs to it."""


async def attack(  # noqa: PLR0913 - what can be chosen
    attach: Attach,
    make_driver: Callable[[Bus], Driver],
    use: Callable[[Driver], Awaitable[object]] | None = None,
    *,
    rounds: int = 100,
    seed: int = 0,
    ram_bytes: int = RAM_BYTES,
    patience: float = PATIENCE,
) -> Report:
    """Record how a driver uses a device; then make mistakes, `rounds` times.

    `use` is what the driver does once it is started, such as reading a block. After each round the
    driver starts anew, and uses the device again.

    Errors: DeviceBroken; those of the driver, while its dialogue is recorded.
    """
    with Ram(ram_bytes) as ram:
        async with attach(ram) as bus:
            dialogue = await record(bus, make_driver, use)
    victim = Victim(attach, make_driver, use, patience)
    await _try_out(victim, dialogue, seed, 0)
    refused = 0
    open_before = 0
    for number in range(1, rounds + 1):
        # A string as the seed: a round can be played without those before it.
        changed = mutate(dialogue, Random(f"{seed} {number}"))  # noqa: S311 - no secret
        refused += await _try_out(victim, changed, seed, number)
        if number == 1:
            # What lies in circles of objects from before would be closed, and hide what is left.
            gc.collect()
            open_before = count_descriptors()
    left = 0
    if rounds >= LEAK_ROUNDS:
        left = await _left_open(open_before + rounds // 2, patience) - open_before
    if left and left >= rounds // 2:
        problem = f"{left} descriptors were left open in {rounds} rounds"
        raise DeviceBroken(problem, dialogue, seed, rounds)
    return Report(rounds, len(dialogue.steps), refused, victim.slowest_detach)


async def replay(
    attach: Attach,
    dialogue: Dialogue,
    make_driver: Callable[[Bus], Driver],
    use: Callable[[Driver], Awaitable[object]] | None = None,
    *,
    patience: float = PATIENCE,
) -> None:
    """Play one dialogue, such as that of a DeviceBroken. Errors: DeviceBroken."""
    victim = Victim(attach, make_driver, use, patience)
    try:
        await victim.try_out(dialogue)
    except Problem as problem:
        raise DeviceBroken(str(problem), dialogue, 0, 0) from problem


async def _try_out(victim: Victim, dialogue: Dialogue, seed: int, number: int) -> int:
    """Play a dialogue. Errors: DeviceBroken, with the shortest one that does the same."""
    try:
        return await victim.try_out(dialogue)
    except Problem as problem:
        shortest = await _shrink(victim, dialogue, str(problem))
        raise DeviceBroken(str(problem), shortest, seed, number) from problem


async def _left_open(most: int, patience: float) -> int:
    """Count open descriptors, once they are fewer, or nothing closes them any more.

    What a driver has handed over may be closed by a thread that nobody waits for; exceptions keep
    some of it in circles of objects.
    """
    gc.collect()
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while (count := count_descriptors()) >= most and loop.time() < end:  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(CLOSING_PAUSE)
    return count


async def _shrink(victim: Victim, dialogue: Dialogue, problem: str) -> Dialogue:
    """Leave steps out as long as the same kind of problem is there.

    A device that stays broken shows it with any dialogue: then none is left out.
    """
    if await _breaks(victim, replace(dialogue, steps=()), problem):
        return dialogue
    tries = SHRINKING_MAX
    size = max(1, len(dialogue.steps) // 2)
    while tries > 0:
        place = 0
        while place < len(dialogue.steps) and tries > 0:
            steps = dialogue.steps[:place] + dialogue.steps[place + size :]
            shorter = replace(dialogue, steps=steps)
            tries -= 1
            if await _breaks(victim, shorter, problem):
                dialogue = shorter
            else:
                place += size
        if size == 1:
            break
        size //= 2
    return dialogue


async def _breaks(victim: Victim, dialogue: Dialogue, problem: str) -> bool:
    """Say whether a dialogue leads to a problem of the same kind."""
    try:
        await victim.try_out(dialogue)
    except Problem as found:
        return str(found).split(":")[0] == problem.split(":", maxsplit=1)[0]
    return False


def count_descriptors() -> int:
    """Count the open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
