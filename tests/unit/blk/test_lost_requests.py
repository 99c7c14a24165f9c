"""What the driver of a disk does with its requests when the process of the device has gone."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.scripted_blk import bus_of, driving
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh_common.errors import DeviceLost

SOON_S = 10.0


async def test_what_the_device_had_used_is_completed_without_its_interrupt() -> None:
    """It was carried out; only what it had not used is lost."""
    model = ScriptedDisk(hold=True)
    model.data[:512] = b"x" * 512
    async with driving(model) as driver:
        bus = bus_of(driver)
        used = asyncio.create_task(driver.read(0, 512))
        unused = asyncio.create_task(driver.read(512, 512))
        first, _ = await model.arrived(2)
        bus.on_interrupt(lambda _: None)  # It dies before it has interrupted.
        model.answer(first)
        bus.lose("it died")

        async with asyncio.timeout(SOON_S):
            assert await used == b"x" * 512
            with pytest.raises(DeviceLost, match="it died"):
                await unused
            with pytest.raises(DeviceLost, match="it died"):
                await driver.read(0, 512)
        assert driver.gone


async def test_a_driver_that_is_told_to_stop_is_not_gone() -> None:
    """Nobody is to begin again what an order has ended."""
    model = ScriptedDisk(hold=True)
    async with driving(model) as driver:
        reading = asyncio.create_task(driver.read(0, 512))
        await model.arrived(1)
        driver.fail(DeviceLost("somebody had it reset"))
        bus_of(driver).lose()

        with pytest.raises(DeviceLost, match="somebody had it reset"):
            await reading
        await asyncio.sleep(0)
        assert not driver.gone
