"""The block driver on a scripted disk, in this process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.notifier import DoorbellKind
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.testing.local_bus import LocalBus
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.blk import spec as blk
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST_MAX = 2048
"""Most data of one request of a small disk, in bytes."""


def small_disk(
    blocks: int = 64, block_size: int = blk.SECTOR, request_max: int = REQUEST_MAX
) -> ScriptedDisk:
    """Make a disk with other bytes in each sector; a discard or a zeroing takes four blocks."""
    sectors = block_size // blk.SECTOR
    model = ScriptedDisk(
        sectors=blocks * sectors,
        config={
            blk.BLK_SIZE: block_size,
            blk.SIZE_MAX: request_max,
            blk.SEG_MAX: 1,
            blk.MAX_DISCARD_SECTORS: 4 * sectors,
            blk.MAX_WRITE_ZEROES_SECTORS: 4 * sectors,
            blk.WRITE_ZEROES_MAY_UNMAP: 1,
        },
    )
    model.data[:] = b"".join(
        number.to_bytes(2, "little") * (blk.SECTOR // 2) for number in range(blocks * sectors)
    )
    return model


@asynccontextmanager
async def driving(
    model: ScriptedDisk, mode: InterruptMode = InterruptMode.INTERRUPT, memory: int = 4 << 20
) -> AsyncIterator[VirtIOBlk]:
    """Start a driver on a model; from then on the model holds requests if it is told to."""
    hold, model.hold = model.hold, False
    with Ram(memory) as ram:
        bus = LocalBus(VirtioMmio(model), ram, DoorbellKind.MMIO)
        driver = VirtIOBlk(bus, mode)
        bus.on_interrupt(driver.handle_irq)
        try:
            await driver.start()
            model.hold = hold
            model.seen.clear()
            yield driver
        finally:
            # What the model still holds is never answered: there is nothing to wait for.
            driver.fail(DeviceLost("the test is over"))
            await driver.close()
            await bus.close()


def bus_of(driver: VirtIOBlk) -> LocalBus:
    """Return the bus of a driver."""
    assert isinstance(driver.bus, LocalBus)
    return driver.bus
