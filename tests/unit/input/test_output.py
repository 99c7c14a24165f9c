"""What the driver sends to an input device: lights, other orders, and who watches them."""

from __future__ import annotations

import pytest

from tests.support.input_device_rig import CAPS, KEY, LED, SYN, A, InputDeviceRig
from virtmesh.input.output import BACKLOG_MAX
from virtmesh_common.errors import WatcherTooSlow
from virtmesh_common.input.spec import EVENT, STATUSQ


async def test_lights_reach_watchers(keyboard: InputDeviceRig) -> None:
    """One packet for each buffer, numbered, with the lights that are on then."""
    await keyboard.bring_up()
    with keyboard.model.output.watching() as watcher:
        await keyboard.order((LED, CAPS, 1), (LED, 0, 1), (LED, CAPS, 0), (0x14, 0, 250))
        sent = [await watcher.read() for _ in range(4)]
    assert [(one.sequence, one.leds_on) for one in sent if one] == [
        (1, (CAPS,)),
        (2, (0, CAPS)),
        (3, (0,)),
        (4, (0,)),
    ]
    assert keyboard.model.output.events == 4


async def test_what_the_device_does_not_have_goes_no_further(keyboard: InputDeviceRig) -> None:
    """Lights that aren't there, types that only the device sends, and nonsense are counted."""
    await keyboard.bring_up()
    await keyboard.order((LED, 9, 1), (KEY, A, 1), SYN, (0xFFFF, 0xFFFF, -1))
    output = keyboard.model.output
    assert (output.packets, output.events, output.unknown, output.leds_on) == (0, 0, 4, ())


async def test_the_lights_go_out_with_the_driver(keyboard: InputDeviceRig) -> None:
    """Watchers see it as a packet."""
    await keyboard.bring_up()
    await keyboard.order((LED, CAPS, 1))
    with keyboard.model.output.watching() as watcher:
        await keyboard.driver.reset()
        sent = await watcher.read()
    assert sent
    assert (sent.sequence, sent.events, sent.leds_on) == (2, ((LED, CAPS, 0),), ())


async def test_a_watcher_that_does_not_keep_up_is_cut_off(keyboard: InputDeviceRig) -> None:
    """It gets what it has room for, then the error; others go on."""
    await keyboard.bring_up()
    output = keyboard.model.output
    with output.watching() as slow, output.watching() as quick:
        for _ in range(BACKLOG_MAX + 2):
            await keyboard.order((LED, CAPS, 1))
            await quick.read()
        for number in range(1, BACKLOG_MAX + 1):
            sent = await slow.read()
            assert sent
            assert sent.sequence == number
        with pytest.raises(WatcherTooSlow) as caught:
            await slow.read()
    assert caught.value.metadata == {"sequence": str(BACKLOG_MAX)}


async def test_events_are_taken_from_any_pieces(keyboard: InputDeviceRig) -> None:
    """The first 8 bytes are the event; a buffer without them is given back unused (5.8.6.1)."""
    await keyboard.bring_up()
    ram, queue = keyboard.driver.ram, keyboard.driver.queues[STATUSQ]
    page = ram.pages.allocate(256)
    ram.guest_memory.write(page, EVENT.pack(LED, CAPS, 1) + b"more")
    ram.guest_memory.write(page + 64, EVENT.pack(0x14, 0, -250))
    tokens = [
        queue.add([(page, 12)], []),
        queue.add([(page, 7)], []),
        queue.add([], [(page, 8)]),
        queue.add([(page + 64, 3), (page + 67, 5)], [(page + 128, 8)]),
    ]
    with keyboard.model.output.watching() as watcher:
        await keyboard.driver.ring(STATUSQ, by="mmio")
        sent = [await watcher.read() for _ in range(2)]
    assert [one.events for one in sent if one] == [((LED, CAPS, 1),), ((0x14, 0, -250),)]
    assert queue.pop_used() == [(token, 0) for token in tokens]
    assert keyboard.model.counters[STATUSQ].malformed == 2
