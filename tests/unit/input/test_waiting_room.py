"""Injectors before the waiting room: who gets in, who waits, and whose keys are released."""

from __future__ import annotations

import asyncio

from tests.support.input_device_rig import PRESS, RELEASE, SYN, A, InputDeviceRig
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.input.spec import EVENTQ


async def test_a_full_room_refuses_or_makes_wait(keyboard: InputDeviceRig) -> None:
    """Who waits is served in turn, and nobody overtakes who waits."""
    for _ in range(16):
        await keyboard.inject(SYN)
    await keyboard.inject(SYN, refuse=True)
    assert keyboard.reports[-1] == (0, pb.OUTCOME_REFUSED)
    waiting = [asyncio.create_task(keyboard.inject(PRESS, SYN)) for _ in range(2)]
    await asyncio.sleep(0)
    assert keyboard.model.injection.waiting == 16
    await keyboard.bring_up(post=1)
    await waiting[0]
    await keyboard.inject(SYN, refuse=True)
    assert keyboard.reports[-1] == (0, pb.OUTCOME_REFUSED)
    assert not waiting[1].done()
    keyboard.poster.take()
    keyboard.poster.post()
    await keyboard.driver.ring(EVENTQ, by="mmio")
    await waiting[1]
    injection = keyboard.model.injection
    assert (injection.accepted, injection.refused) == (18, 2)


async def test_who_stops_waiting_is_not_accepted(keyboard: InputDeviceRig) -> None:
    """A stream that ends while it waits leaves its turn to the next."""
    for _ in range(16):
        await keyboard.inject(SYN)
    first = asyncio.create_task(keyboard.inject(PRESS, SYN))
    second = asyncio.create_task(keyboard.inject(RELEASE, SYN))
    await asyncio.sleep(0)
    first.cancel()
    await keyboard.bring_up(post=1)
    await second
    assert first.cancelled()
    assert keyboard.model.injection.accepted == 17


async def test_releases_find_room_always(keyboard: InputDeviceRig) -> None:
    """What a stream holds is released, whether or not the room is full."""
    await keyboard.inject(PRESS, SYN)
    for _ in range(15):
        await keyboard.inject(SYN)
    keyboard.model.injection.leave(keyboard.injector)
    assert keyboard.model.injection.waiting == 17
    await keyboard.bring_up()
    got = []
    while keyboard.model.injection.waiting:
        got += keyboard.poster.take()
        keyboard.poster.post()
        await keyboard.driver.ring(EVENTQ, by="mmio")
    got += keyboard.poster.take()
    assert got == [PRESS, SYN, *[SYN] * 15, RELEASE, SYN]


async def test_release_all_says_which_keys_were_held(keyboard: InputDeviceRig) -> None:
    """The stream that held them releases nothing more."""
    await keyboard.bring_up()
    await keyboard.inject(PRESS, SYN)
    keyboard.poster.take()
    assert keyboard.model.injection.release_all() == [A]
    assert keyboard.poster.take() == [RELEASE, SYN]
    keyboard.model.injection.leave(keyboard.injector)
    assert keyboard.poster.take() == []
