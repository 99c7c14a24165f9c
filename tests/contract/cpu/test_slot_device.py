"""A device in a slot of the CPU's board, whose service is restarted while the guest boots anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from virtmesh_native import Board

from tests.contract.conftest import Served
from tests.support.board_rig import SLOT, SLOT_SIZE, make_board
from tests.support.holding_device import HoldingModel
from virtmesh.attach.guest_ram import Ram
from virtmesh.cpu.engine import Engine
from virtmesh.cpu.slot_device import SlotDevice
from virtmesh.kernel.boot_log import BootLog
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.tree import DeviceNode
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.virtio import mmio


class WatchedDevice(VirtioMmio):
    """A device that says when a register is read."""

    on_read: Callable[[], object] | None = None
    """Called at the next read, once."""

    def read(self, offset: int, width: int) -> int:
        """Read a register."""
        call, self.on_read = self.on_read, None
        if call is not None:
            call()
        return super().read(offset, width)


@asynccontextmanager
async def in_slot(served: Served) -> AsyncIterator[tuple[SlotDevice, Engine]]:
    """Keep a served device attached to slot 0 of a board that does not run."""
    node = DeviceNode(
        "hold", (mmio.COMPATIBLE,), SLOT, SLOT_SIZE, 1, served.address, str(served.handover)
    )
    engine = Engine(make_board(), lambda _ended: None)
    with Ram(1 << 20) as ram:
        device = SlotDevice(node, 0, engine, ram, "cpu", BootLog(), 0, lambda _name: None)
        task = asyncio.create_task(device.run())
        try:
            await device.until(ProbeState.READY)
            yield device, engine
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await engine.close()
            device.close()


async def write_status(engine: Engine, *values: int) -> None:
    """Write Status as the guest does, one value after the other."""

    def write(board: Board) -> None:
        for value in values:
            board.access(0, mmio.STATUS.offset, 4, value)

    await engine.call(write)


async def test_a_guest_that_boots_while_its_device_is_set_up_finds_it_reset(
    serve: Callable[..., AbstractAsyncContextManager[Served]],
) -> None:
    """What the guest before had written is not there: the device is attached once more."""
    device = WatchedDevice(HoldingModel())
    async with serve(device) as served, in_slot(served) as (slot, engine):
        await write_status(engine, 1, 3)
        device.on_read = slot.renew
        slot.lose()
        await slot.until(ProbeState.WAITING)
        await slot.until(ProbeState.READY)

        assert device.on_read is None
        assert (slot.restorations, slot.attaches) == (1, 3)
        assert device.state.device_status == 0


async def test_a_device_that_is_lost_is_set_up_as_it_was(
    serve: Callable[..., AbstractAsyncContextManager[Served]],
) -> None:
    """Its Status has what the guest had written."""
    device = VirtioMmio(HoldingModel())
    async with serve(device) as served, in_slot(served) as (slot, engine):
        await write_status(engine, 1, 3)
        slot.lose()
        await slot.until(ProbeState.WAITING)
        await slot.until(ProbeState.READY)

        assert (slot.restorations, slot.attaches) == (1, 2)
        assert device.state.device_status == 3
