"""Each rule about virtqueues: a driver that breaks it alone, with rings written by hand."""

from __future__ import annotations

import struct

import pytest
from virtmesh_native import judged_rules

from tests.support.rule_rig import (
    AVAIL,
    INDIRECT,
    INDIRECT_FEATURE,
    NEXT,
    OUTSIDE,
    PACKED,
    SIZE,
    USED,
    WRITE,
    Breaks,
    Holder,
    RuleRig,
    rule_rig,
)
from virtmesh.report.rules import RULES, ring
from virtmesh_common.virtio import mmio as registers
from virtmesh_common.virtio.features import Feature

HALF = 1 << 31
"""Half of 2^32 bytes."""
breaks = Breaks()


@breaks("avail-index")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.offer(idx=SIZE + 1)


@breaks("avail-entry")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.offer(SIZE)


@breaks("chain-in-flight")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.descriptor(0, rig.buffer(), 64)
    rig.offer(0, 0)


@breaks("descriptor-next")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.descriptor(0, rig.buffer(), 64, NEXT, SIZE)
    rig.offer(0)


@breaks("chain-length")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.descriptor(0, rig.buffer(), 64, NEXT, 0)
    rig.offer(0)


@breaks("readable-first")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.descriptor(0, rig.buffer(), 64, NEXT | WRITE, 1)
    rig.descriptor(1, rig.buffer(), 64)
    rig.offer(0)


@breaks("buffer-outside-memory")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.descriptor(0, OUTSIDE, 64)
    rig.offer(0)


@breaks("indirect-not-negotiated")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.descriptor(0, rig.buffer(), 16, INDIRECT)
    rig.offer(0)


@breaks("indirect-next")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(INDIRECT_FEATURE)
    rig.descriptor(0, rig.buffer(), 16, INDIRECT | NEXT, 1)
    rig.offer(0)


@breaks("indirect-nested")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(INDIRECT_FEATURE)
    table = rig.buffer()
    rig.descriptor(0, rig.buffer(), 16, INDIRECT, table=table)
    rig.descriptor(0, table, 16, INDIRECT)
    rig.offer(0)


@breaks("indirect-table")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(INDIRECT_FEATURE)
    rig.descriptor(0, rig.buffer(), 20, INDIRECT)
    rig.offer(0)


@breaks("avail-flags")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    rig.memory.write(rig.areas[1], struct.pack("<H", 2))


@breaks("used-flags")
async def _(rig: RuleRig) -> None:
    await rig.place()
    rig.memory.write(rig.areas[2], struct.pack("<H", 1))
    rig.put(registers.QUEUE_READY, 1)


@breaks("packed-overrun")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(PACKED, size=1)
    rig.packed(0, rig.buffer(), 64, 0, AVAIL)
    rig.put(registers.QUEUE_NOTIFY, 0)
    rig.packed(0, rig.buffer(), 64, 0, USED)  # available in the second lap
    rig.put(registers.QUEUE_NOTIFY, 0)


@breaks("packed-chain")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(PACKED)
    rig.packed(0, rig.buffer(), 64, 0, AVAIL | NEXT)
    rig.put(registers.QUEUE_NOTIFY, 0)


@breaks("packed-buffer-id")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(PACKED)
    rig.packed(0, rig.buffer(), 64, SIZE, AVAIL)
    rig.put(registers.QUEUE_NOTIFY, 0)


@breaks("packed-buffer-id-in-flight")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(PACKED)
    for index in range(2):
        rig.packed(index, rig.buffer(), 64, 0, AVAIL)
    rig.put(registers.QUEUE_NOTIFY, 0)


@breaks("packed-indirect-in-chain")
async def _(rig: RuleRig) -> None:
    await rig.bring_up(PACKED | Feature.VIRTIO_F_INDIRECT_DESC)
    rig.packed(0, rig.buffer(), 64, 0, AVAIL | NEXT)
    rig.packed(1, rig.buffer(), 16, 0, AVAIL | INDIRECT)
    rig.put(registers.QUEUE_NOTIFY, 0)


@breaks("chain-bytes")
async def _(rig: RuleRig) -> None:
    await rig.bring_up()
    for index in range(3):
        rig.descriptor(index, rig.ram.address, HALF, NEXT if index < 2 else 0, index + 1)
    rig.offer(0)


@pytest.mark.parametrize("rule", [rule.name for rule in ring.RULES])
async def test_a_driver_that_breaks_a_rule_has_it_named_and_no_other(rule: str) -> None:
    """What native code finds, and the flags of the rings."""
    with rule_rig(Holder(), memory=HALF + (1 << 20)) as rig:
        assert await breaks.run(rule, rig) == [rule]


def test_what_native_code_judges_is_in_the_tables() -> None:
    """Each by its name, without a predicate of its own."""
    tables = {rule.name: rule for rule in RULES}
    assert [name for name in judged_rules() if tables[name].broken is not None] == []
