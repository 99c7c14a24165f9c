"""How long a device takes for a reset and for a detach, while its driver attacks it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import ring_attacker
from tests.support.device_kinds import DEVICES
from virtmesh.attach.bus import BATCH_LIMIT, Access
from virtmesh.testing.scripted_driver import ChannelRegisters, ScriptedDriver
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from tests.contract.conftest import Served

STORM = "storm"
"""Register accesses without end: notifications, or bytes to a serial port."""
ATTACKS = ("scribble", "loop", "flood", STORM)
SIZE = 8
"""Of each queue."""
BATCHES = 8
"""Batches of a storm that wait at a time."""
TRANSMIT = 0
"""The register of a serial port that sends a byte."""


@contextmanager
def attacker(way: str, driver: ScriptedDriver) -> Iterator[None]:
    """Let a process attack the queues of a driver that is live."""
    kicks = [pair.kick for pair in driver.doorbells.queues.values()]
    rings = [
        [*(one - driver.ram.address for one in areas), SIZE] for areas in driver.areas.values()
    ]
    command = [sys.executable, "-I", "-S", str(Path(ring_attacker.__file__)), way]
    command += [str(driver.ram.descriptor), json.dumps(kicks), json.dumps(rings)]
    shared = [driver.ram.descriptor, *kicks]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=shared) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            yield
        finally:
            process.kill()


@asynccontextmanager
async def attacked(served: Served, way: str, queues: int) -> AsyncIterator[ScriptedDriver]:
    """Attach a driver, and attack the device by it."""
    async with served.attached("attacker", queues, by_channel=True) as driver:
        if queues:
            await driver.bring_up(Feature.VIRTIO_F_VERSION_1, queues)
        with attacker("kick" if way == STORM else way, driver):
            storms = [asyncio.create_task(storm(driver, queues))] if way == STORM else []
            try:
                yield driver
            finally:
                for one in storms:
                    one.cancel()
                await asyncio.gather(*storms, return_exceptions=True)


async def storm(driver: ScriptedDriver, queues: int) -> None:
    """Send batches as large as they may be, until the device wants no more."""
    assert isinstance(driver.plane, ChannelRegisters)
    one = Access(mmio.QUEUE_NOTIFY.offset, 4, 0) if queues else Access(TRANSMIT, 1, ord("x"))
    with suppress(VirtmeshError):
        while True:
            batches = [driver.plane.access([one] * BATCH_LIMIT) for _ in range(BATCHES)]
            await asyncio.gather(*batches)


async def seconds_of(served: Served, name: str, way: str, call: str) -> float:
    """Attack a device of a name, and Reset or Detach it meanwhile; return how long that took."""
    queues = DEVICES[name].queues
    async with attacked(served, way, queues) as driver:
        assert isinstance(driver.plane, ChannelRegisters)
        metadata = driver.plane.metadata
        begun = time.monotonic()
        if call == "Reset":
            await served.control.Reset(device_pb2.ResetRequest(), metadata=metadata)
        else:
            await served.control.Detach(device_pb2.DetachRequest(), metadata=metadata)
        return time.monotonic() - begun
