"""A device that is left to guests, and whose service comes later than the kernel."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.vhost_user.backend import serve
from virtmesh.drivers.settings import Settings
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.tree import make_blob
from virtmesh.machine import DeviceEntry, Machine

SECONDS = 20.0


async def test_a_service_that_comes_late_is_found_unasked(tmp_path: Path) -> None:
    """What only reads the state, such as the monitor, does not say "waiting" for ever."""
    endpoint = f"unix:{tmp_path / 'device.sock'}"
    entry = DeviceEntry(name="vda", kind="blk", endpoint=endpoint, slot=0, vhost_user="guests")
    kernel = Kernel(make_blob(Machine(name="test", devices=(entry,))), Settings())
    device = kernel.device("vda")
    kernel.start()
    async with asyncio.timeout(SECONDS):
        await device.until(ProbeState.WAITING, detail="no service answers")
        async with serve(tmp_path):
            await device.until(ProbeState.RESERVED, detail="waits for a guest")
    await kernel.stop()

    assert device.device_id == 2
