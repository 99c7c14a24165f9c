"""Find cycles in a batch: the same guards before as many equal accesses, several times.

A driver that moves much through a FIFO sends a batch of these: "while there is room, fill it". What
is found is only an offer to the device (virtmesh.mmio.device.CycleDevice), so that a batch means
the same whether cycles are found in it or not. It is a comparison of columns as a whole: to look
at each of thousands of accesses costs more than a device takes that moves them in one piece.
"""

from __future__ import annotations

from virtmesh.mmio.device import Cycles, Guard

WRITE = 0x80
"""Bit of an op that means a write (register.proto)."""
GUARD = 0x40
"""Bit of an op that means a guard (register.proto)."""
GUARDS_MAX = 4
"""Most guards of a cycle."""
LENGTH_MAX = 64
"""Most equal accesses of a cycle. Longer runs are worth little more together than each alone."""


def find_cycles(offsets: list[int], ops: list[int], values: list[int]) -> Cycles | None:
    """Return the cycles that a batch begins with; None if they are not two at least."""
    count, guards = len(ops), 0
    while guards < min(count, GUARDS_MAX) and is_guard(ops[guards]):
        guards += 1
    if not 0 < guards < count or is_guard(ops[guards]):
        return None
    offset, op = offsets[guards], ops[guards]
    end, limit = guards + 1, min(count, guards + LENGTH_MAX)
    while end < limit and ops[end] == op and offsets[end] == offset:
        end += 1
    times = count // end
    whole = times * end
    if times < 2 or offsets[:whole] != offsets[:end] * times or ops[:whole] != ops[:end] * times:
        return None
    found = []
    for at in range(guards):
        if values[at:whole:end].count(values[at]) != times:
            return None
        mask, expected = values[at] >> 32, values[at] & 0xFFFF_FFFF
        found.append(Guard(offsets[at], ops[at] ^ GUARD, mask, expected))
    writes = None
    if op & WRITE:
        writes = values[:whole]
        for left in range(guards):
            del writes[:: end - left]
    return Cycles(tuple(found), offset, op & ~WRITE, end - guards, times, writes)


def is_guard(op: int) -> bool:
    """Say whether an access is a guard."""
    return op & (GUARD | WRITE) == GUARD
