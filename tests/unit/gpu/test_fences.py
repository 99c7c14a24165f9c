"""Fences that never come: commands that a device takes and does not answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.gpu.test_driver import MODE, driving
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.slots import SLOTS
from virtmesh.virtio.queue_device import Chain
from virtmesh_common.errors import DeviceLost, DeviceNeedsReset
from virtmesh_common.gpu.spec import CONTROLQ


class Silent(GpuModel):
    """A GPU that answers nothing on its control queue any more, once it is told so."""

    def __init__(self) -> None:
        super().__init__("gpu0", GpuOptions(mode=MODE))
        self.is_silent = False
        self.held: list[Chain] = []
        self.holds = asyncio.Event()

    def take(self, chain: Chain) -> None:
        """Keep a command, or carry it out."""
        if not self.is_silent or chain.queue != CONTROLQ:
            super().take(chain)
            return
        self.held.append(chain)
        if len(self.held) == SLOTS:
            self.holds.set()


async def flushes(driver: VirtIOGpu, model: Silent) -> list[asyncio.Task[None]]:
    """Flush more often than there are slots; return when the device has all of those."""
    model.is_silent = True
    tasks = [asyncio.create_task(driver.flush()) for _ in range(10 * SLOTS)]
    await model.holds.wait()
    return tasks


async def test_a_silent_device_has_so_many_commands_and_no_more() -> None:
    """The others wait; the cursor goes on. When the device breaks, all of them fail."""
    model = Silent()
    async with driving(model) as driver:
        tasks = await flushes(driver, model)
        await driver.move_cursor(3, 4)
        assert (model.scanouts[0].cursor.x, driver.in_flight) == (3, SLOTS)
        assert not any(task.done() for task in tasks)
        model.interrupt.set_fault("silent")
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in outcomes} == {DeviceNeedsReset}
        with pytest.raises(DeviceNeedsReset):
            await driver.flush()


async def test_a_driver_that_is_closed_meanwhile() -> None:
    """Nobody waits for ever."""
    model = Silent()
    async with driving(model) as driver:
        tasks = await flushes(driver, model)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(one) for one in outcomes} == {DeviceLost}


async def test_answers_that_come_late() -> None:
    """They are taken, in whatever order."""
    model = Silent()
    async with driving(model) as driver:
        tasks = await flushes(driver, model)
        model.is_silent = False
        for chain in reversed(model.held):
            GpuModel.take(model, chain)
        model.kick(CONTROLQ)
        assert await asyncio.gather(*tasks) == [None] * len(tasks)
        assert driver.in_flight == 0
