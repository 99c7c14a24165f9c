"""Mistakes in a dialogue. Each function makes one, and returns the steps.

What is changed, and to what, comes from a `random.Random`: the same seed makes the same mistakes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from virtmesh.testing.malicious.dialogue import (
    Memory,
    Notify,
    Race,
    RegisterRead,
    RegisterWrite,
)
from virtmesh_common.virtio.mmio import MMIO_CONFIG, QUEUE_NOTIFY, STATUS

if TYPE_CHECKING:
    from random import Random

    from virtmesh.testing.malicious.dialogue import Dialogue, Step

CHANGES = (1, 1, 1, 2, 2, 3, 5)
"""How many mistakes a round has. Where there are many, the first ends the dialogue mostly."""
WINDOW = 0x200
"""Offsets that stray accesses go to, beside those that the driver uses."""
CONFIG = (0, 0, 4, 8, 12, 16, 24, 32)
"""Offsets in the configuration space that stray accesses go to more often."""
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 255, 256, 4095, 4096, 32767, 32768, 65535, 1 << 31, (1 << 32) - 1)
"""Where mistakes are made."""
LARGE = ((1 << 63), (1 << 64) - 1, (1 << 64) - 16)
FIELDS = (2, 4, 8)
"""Widths of fields in memory: indexes and flags, lengths, addresses."""
DESCRIPTOR = 16
"""Bytes of a descriptor."""
DESCRIPTOR_FIELDS = ((0, 8), (8, 4), (12, 2), (14, 2))
"""Offset and width of what is in a descriptor (virtio 1.4, 2.7.5 and 2.8.13)."""
LOW_BITS = 4
"""Flags are among these bits mostly."""
REPEATED_MAX = 8
"""Most steps that are done again."""


def mutate(dialogue: Dialogue, random: Random) -> Dialogue:
    """Return the dialogue with one to five mistakes: in memory, at registers, or of any kind."""
    steps = list(dialogue.steps)
    mistakes = random.choice((IN_MEMORY, AT_REGISTERS, IN_ORDER + IN_MEMORY + AT_REGISTERS))
    for _ in range(random.choice(CHANGES)):
        if steps:
            steps = random.choice(mistakes)(steps, dialogue, random)
    return replace(dialogue, steps=tuple(steps))


def a_number(dialogue: Dialogue, random: Random) -> int:
    """Return a number at which mistakes are made, an address, or any."""
    end = dialogue.ram_address + dialogue.ram_bytes
    written = [step.address for step in dialogue.steps if isinstance(step, Memory)]
    match random.randrange(6):
        case 0:
            return random.choice(LARGE)
        case 1:
            return end - random.choice((0, 1, 8, 16, 4096))
        case 2 if written:
            return random.choice(written)
        case 3:
            return random.getrandbits(64)
        case _:
            return random.choice(NUMBERS)


def drop(steps: list[Step], _dialogue: Dialogue, random: Random) -> list[Step]:
    """Leave a step out."""
    place = random.randrange(len(steps))
    return steps[:place] + steps[place + 1 :]


def repeat(steps: list[Step], _dialogue: Dialogue, random: Random) -> list[Step]:
    """Do some steps again, here or later."""
    start = random.randrange(len(steps))
    again = steps[start : start + random.randint(1, REPEATED_MAX)]
    place = random.randint(start, len(steps))
    return steps[:place] + again + steps[place:]


def swap(steps: list[Step], _dialogue: Dialogue, random: Random) -> list[Step]:
    """Do two steps in each other's place."""
    one, other = random.randrange(len(steps)), random.randrange(len(steps))
    changed = list(steps)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def cut(steps: list[Step], _dialogue: Dialogue, random: Random) -> list[Step]:
    """Vanish in the middle."""
    return steps[: random.randint(1, len(steps))]


def write_another(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Write another value to a register, of the width that it has."""
    writes = [(place, step) for place, step in enumerate(steps) if isinstance(step, RegisterWrite)]
    if not writes:
        return steps
    place, step = random.choice(writes)
    bits = 8 * step.width
    flipped = step.value ^ 1 << random.randrange(bits)
    value = random.choice((flipped, a_number(dialogue, random) & (1 << bits) - 1))
    return [*steps[:place], replace(step, value=value), *steps[place + 1 :]]


def stray(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Access a register that the driver has no use for, at any width."""
    place = random.randint(0, len(steps))
    width = random.choice((1, 2, 4, 8))
    used = [one.offset for one in steps if isinstance(one, RegisterRead | RegisterWrite)]
    offset = random.choice(
        (
            random.choice(used or [0]),
            MMIO_CONFIG + random.choice(CONFIG),
            random.randrange(WINDOW),
            random.randrange(WINDOW // 4) * 4,
        )
    )
    step: Step = RegisterRead(offset, width)
    if random.getrandbits(1):
        step = RegisterWrite(offset, width, a_number(dialogue, random) & (1 << 8 * width) - 1)
    return [*steps[:place], step, *steps[place:]]


def reset(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Reset a virtio device in the middle; another device gets a stray access."""
    if not any(isinstance(one, RegisterWrite) and one.offset == STATUS.offset for one in steps):
        return stray(steps, dialogue, random)
    place = random.randint(0, len(steps))
    return [*steps[:place], RegisterWrite(STATUS.offset, STATUS.size, 0), *steps[place:]]


def notify(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Notify a queue, by eventfd or by register, there or not."""
    place = random.randint(0, len(steps))
    queues = [step.queue for step in dialogue.steps if isinstance(step, Notify)]
    step: Step
    if queues and random.getrandbits(1):
        step = Notify(random.choice(queues))
    else:
        queue = random.choice(NUMBERS)
        step = RegisterWrite(QUEUE_NOTIFY.offset, QUEUE_NOTIFY.size, queue)
    return [*steps[:place], *[step] * random.choice((1, 1, 50)), *steps[place:]]


def corrupt(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Write another number in memory: an index, a length, an address."""
    writes = [(place, step) for place, step in enumerate(steps) if isinstance(step, Memory)]
    if not writes:
        return steps
    place, step = random.choice(writes)
    at, field = a_field(step, dialogue, random)
    data = step.data[:at] + field + step.data[at + len(field) :]
    return [*steps[:place], replace(step, data=data), *steps[place + 1 :]]


def scribble(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Change a number in memory at any time."""
    written = [step for step in steps if isinstance(step, Memory)]
    if not written:
        return steps
    step = random.choice(written)
    at, field = a_field(step, dialogue, random)
    place = random.randint(0, len(steps))
    return [*steps[:place], Memory(step.address + at, field), *steps[place:]]


def race(steps: list[Step], dialogue: Dialogue, random: Random) -> list[Step]:
    """Change a number in memory while the device works."""
    written = [step for step in steps if isinstance(step, Memory)]
    if not written:
        return steps
    step = random.choice(written)
    at, field = a_field(step, dialogue, random)
    place = random.randint(0, len(steps))
    right = step.data[at : at + len(field)]
    return [*steps[:place], Race(step.address + at, right, field), *steps[place:]]


def a_field(step: Memory, dialogue: Dialogue, random: Random) -> tuple[int, bytes]:
    """Return a place in what is written to memory, and another number for it."""
    at, width = random.choice(DESCRIPTOR_FIELDS)
    at += DESCRIPTOR * random.randrange(max(1, len(step.data) // DESCRIPTOR))
    if random.getrandbits(1) or at + width > len(step.data):
        width = random.choice([one for one in FIELDS if one <= len(step.data)] or [1])
        at = random.randrange(max(1, len(step.data) // width)) * width
    before = int.from_bytes(step.data[at : at + width], "little")
    number = random.choice(
        (
            a_number(dialogue, random),
            before ^ 1 << random.randrange(LOW_BITS),
            before ^ 1 << random.randrange(8 * width),
            before + random.choice((-1, 1)),
        )
    )
    return at, (number & (1 << 8 * width) - 1).to_bytes(width, "little")


IN_ORDER = (drop, repeat, swap, cut)
AT_REGISTERS = (write_another, stray, stray, reset, notify)
IN_MEMORY = (corrupt, corrupt, corrupt, scribble, race, notify)
"""The mistakes by kind; those that find most have more places."""
