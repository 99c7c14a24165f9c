"""The kernel: every device that its device tree names, each kept up by a task of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.drivers.block_device import BlockDevice
from virtmesh.drivers.input_device import InputDevice
from virtmesh.errors import DeviceNotFound, DeviceNotReady
from virtmesh.kernel.devicetree import parse_blob
from virtmesh.kernel.irq import IrqController
from virtmesh.kernel.probe import ProbedDevice

if TYPE_CHECKING:
    from virtmesh.kernel.settings import Settings


class Kernel:
    """What runs on a machine described by a flattened device tree. Errors: BadMachine."""

    def __init__(self, blob: bytes, settings: Settings) -> None:
        self.machine = parse_blob(blob)
        self.irq = IrqController()
        self.devices = {
            node.name: ProbedDevice(
                node,
                machine=self.machine.name,
                ram_size=settings.memory or self.machine.ram_size,
                settings=settings,
                irq=self.irq,
            )
            for node in self.machine.devices
        }
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to bring all devices up."""
        self._tasks = [
            asyncio.create_task(device.run(), name=name) for name, device in self.devices.items()
        ]

    async def stop(self) -> None:
        """Give all devices back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def device(self, name: str) -> ProbedDevice:
        """Return a device. Errors: DeviceNotFound."""
        found = self.devices.get(name)
        if found is None:
            known = ", ".join(self.devices) or "none at all"
            raise DeviceNotFound(f"{self.machine.name} has no device {name!r}: it has {known}")
        return found

    def block_device(self, name: str) -> BlockDevice:
        """Return a disk that is in use. Errors: DeviceNotFound; DeviceNotReady."""
        driver = self.device(name).ready_driver()
        if not isinstance(driver, BlockDevice):
            raise DeviceNotFound(f"{name} is no disk: it is driven by {type(driver).__name__}")
        return driver

    def input_device(self, name: str) -> InputDevice:
        """Return an input device that is in use. Errors: DeviceNotFound; DeviceNotReady."""
        driver = self.device(name).ready_driver()
        if not isinstance(driver, InputDevice):
            raise DeviceNotReady(
                f"{name} is no input device: it is driven by {type(driver).__name__}"
            )
        return driver
