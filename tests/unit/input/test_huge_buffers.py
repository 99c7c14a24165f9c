"""Buffers that cover all of guest memory, again and again: eight bytes of each are touched."""

from __future__ import annotations

import time

from tests.support.input_device_rig import PRESS, SYN, InputDeviceRig
from tests.support.lingering import SOON
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ
from virtmesh_common.virtio import mmio

MARK = b"what nobody touches"
PIECES = 8


async def test_an_event_is_eight_bytes(keyboard: InputDeviceRig) -> None:
    """Whatever the buffer's length."""
    start = time.monotonic()
    rig, ram = keyboard, keyboard.driver.ram
    await rig.bring_up(post=0)
    mark = ram.pages.allocate(len(MARK))
    ram.guest_memory.write(mark, MARK)
    place = ram.pages.allocate(4096)
    queue = rig.driver.queues[EVENTQ]
    rest = ram.address + ram.size - place
    for _ in range(2):
        assert queue.add([], [(place, rest)]) is not None
    await rig.driver.put(mmio.QUEUE_NOTIFY, EVENTQ)
    await rig.inject(PRESS, SYN)
    assert [written for _, written in queue.pop_used()] == [EVENT.size, EVENT.size]
    assert ram.guest_memory.read(place, EVENT.size) == EVENT.pack(*SYN)
    assert ram.guest_memory.read(mark, len(MARK)) == MARK
    assert time.monotonic() - start < SOON


async def test_a_status_is_read_no_further(keyboard: InputDeviceRig) -> None:
    """Chains of it cover gigabytes, and the next driver gets in."""
    start = time.monotonic()
    rig, ram = keyboard, keyboard.driver.ram
    await rig.bring_up()
    queue = rig.driver.queues[STATUSQ]
    for _ in range(20):
        assert queue.add([(ram.address, ram.size)] * PIECES, []) is not None
        await rig.driver.put(mmio.QUEUE_NOTIFY, STATUSQ)
        assert [written for _, written in queue.pop_used()] == [0]
    await rig.bring_up()
    assert time.monotonic() - start < SOON
