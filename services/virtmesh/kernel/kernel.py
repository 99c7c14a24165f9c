"""The kernel: every device that its device tree names, each kept up by a task of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.kernel.boot_log import BootLog
from virtmesh.kernel.device import ProbeState, find_device, watch
from virtmesh.kernel.irq import IrqController
from virtmesh.kernel.probe import ProbedDevice
from virtmesh.kernel.tree import Fate, parse_blob
from virtmesh.kernel.vhost_user_device import VhostUserDevice
from virtmesh_common import __version__
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.drivers.base import Driver
    from virtmesh.drivers.settings import Settings
    from virtmesh.kernel.device import MachineDevice
    from virtmesh.kernel.tree import Binding, DeviceNode
    from virtmesh.telemetry.recorder import Traced

NODES_SAID = 64
"""Most nodes that the boot log names one by one."""


class Kernel:
    """What runs on a machine described by a flattened device tree. Errors: BadMachine.

    `source` says in the boot log where the tree comes from. `bindings` are services for nodes that
    name none. `name` is another name for the machine than the tree has.
    """

    def __init__(
        self,
        blob: bytes,
        settings: Settings,
        source: str = "",
        bindings: Sequence[Binding] = (),
        name: str = "",
    ) -> None:
        self.boot_log = BootLog()
        self.machine = parse_blob(blob, bindings, name)
        self.irq = IrqController()
        self.devices = {node.name: self._device(node, settings) for node in self.machine.devices}
        self._describe(settings, f"{len(blob)} bytes{' from ' * bool(source)}{source}")
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to bring all devices up."""
        self._tasks = [
            asyncio.create_task(device.run(), name=name) for name, device in self.devices.items()
        ]
        watching = watch(self.devices.values())
        self._tasks.append(asyncio.create_task(watching, name="watch"))

    async def stop(self) -> None:
        """Give all devices back."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self, seconds: float) -> None:
        """Wait until every device is ready or has failed, but not longer than that.

        Those that are left to guests are not waited for.
        """
        done = (ProbeState.READY, ProbeState.FAILED)
        mine = [device for device in self.devices.values() if not device.node.reserved]
        with suppress(TimeoutError):
            async with time_limit(seconds):
                await asyncio.gather(*(device.until(*done) for device in mine))

    def device(self, name: str) -> MachineDevice:
        """Return a device. Errors: DeviceNotFound."""
        return find_device(self.devices, name, self.machine.name)

    def traced(self, name: str) -> Traced:
        """Return the driver's side of a device, in use or not. Errors: DeviceNotFound."""
        return self.device(name).traced

    def driver(self, name: str) -> Driver:
        """Return the driver of a device that is in use. Errors: DeviceNotFound; DeviceNotReady."""
        return self.device(name).ready_driver()

    def _device(self, node: DeviceNode, settings: Settings) -> MachineDevice:
        """Make the device of a node."""
        if node.reserved:
            return VhostUserDevice(node, self.boot_log, settings.recorder)
        return ProbedDevice(
            node,
            machine=self.machine,
            settings=settings,
            irq=self.irq,
            boot_log=self.boot_log,
        )

    def _describe(self, settings: Settings, tree: str) -> None:
        """Say in the boot log what the machine is made of."""
        say, machine = self.boot_log.add, self.machine
        say(f"virtmesh {__version__}, machine {machine.name}")
        say(f"device tree: {tree}")
        memory = settings.memory or machine.ram_size
        say(f"memory: {memory >> 10} KiB at {RAM_ADDRESS:#x} for each driver")
        say(f"doorbells: {settings.doorbell.value}; used buffers: {settings.interrupts.value}")
        for node in machine.devices:
            kind = node.compatible[0] if node.compatible else "a node without a compatible string"
            say(f"{node.name}: {kind} at {node.address:#x}, irq {node.irq}, {node.endpoint}")
        self._list_nodes()
        say(f"console: {machine.console or 'none: the machine has no serial port'}")

    def _list_nodes(self) -> None:
        """Say in the boot log what became of the nodes that have an address and are not driven."""
        say, nodes = self.boot_log.add, self.machine.nodes
        counts = Counter(node.fate.value for node in nodes)
        say(f"nodes: {', '.join(f'{count} {fate}' for fate, count in sorted(counts.items()))}")
        others = [
            node
            for node in nodes
            if node.address is not None and node.fate not in {Fate.DRIVEN, Fate.READ, Fate.RESERVED}
        ]
        for node in others[:NODES_SAID]:
            say(f"{node.path}: {node.fate.value}: {node.reason}")
        if len(others) > NODES_SAID:
            say(f"{len(others) - NODES_SAID} more: see virtmesh devices --all")
