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
PERIOD_MAX = 64
"""Most accesses of a cycle. Longer runs are worth little more together than each alone."""


def find_cycles(offsets: list[int], ops: list[int], values: list[int]) -> Cycles | None:
    """Return the cycles that a batch begins with; None if they are not two at least."""
    count, guards = len(ops), 0
    # Most batches end here, for less than an access costs.
    if not count or not is_guard(ops[0]) or offsets[0] not in offsets[1 : PERIOD_MAX + 1]:
        return None
    period = offsets.index(offsets[0], 1)
    if ops[period] != ops[0] or (times := count // period) < 2:
        return None
    while guards < period and is_guard(ops[guards]):
        guards += 1
    whole, length = times * period, period - guards
    if offsets[:whole] != offsets[:period] * times or ops[:whole] != ops[:period] * times:
        return None
    run = set(zip(offsets[guards:period], ops[guards:period], strict=True))
    if len(run) != 1:
        return None
    ((offset, op),) = run
    found = []
    for at in range(guards):
        if values[at:whole:period].count(values[at]) != times:
            return None
        mask, expected = values[at] >> 32, values[at] & 0xFFFF_FFFF
        found.append(Guard(offsets[at], ops[at] ^ GUARD, mask, expected))
    writes = None
    if op & WRITE:
        writes = values[:whole]
        for left in range(guards):
            del writes[:: period - left]
    return Cycles(tuple(found), offset, op & ~WRITE, length, times, writes)


def is_guard(op: int) -> bool:
    """Say whether an access is a guard."""
    return op & (GUARD | WRITE) == GUARD
