"""KernelService: which devices the machine has, and how they fare."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from virtmesh.kernel.device import shown_state
from virtmesh.kernel.supervisor import restart_process
from virtmesh_common.api.kernel.v1 import kernel_pb2 as pb
from virtmesh_common.api.kernel.v1 import kernel_pb2_grpc
from virtmesh_common.channel import MESSAGE_LIMIT_BYTES
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import Any

    from virtmesh.kernel.device import DevicesOfMachine, MachineDevice

NODES_BYTES_MAX = MESSAGE_LIMIT_BYTES // 2
"""Most bytes of nodes in one answer: half of what a message may have."""
RESTART_SECONDS = 20.0
"""How long a device that was started anew may take to be used again."""
LOOK_SECONDS = 0.02
"""How often it is looked at meanwhile."""
UNSETTLED = {pb.PROBE_STATE_WAITING, pb.PROBE_STATE_PROBING, pb.PROBE_STATE_SILENT}
SERVICE = "virtmesh.kernel.v1.KernelService"


class KernelService(kernel_pb2_grpc.KernelServiceServicer):
    """Serves virtmesh.kernel.v1.KernelService."""

    def __init__(
        self,
        kernel: DevicesOfMachine,
        warnings: Callable[[], Sequence[str]] = tuple,
        control: Path | None = None,
    ) -> None:
        """Serve a machine; `control` is the socket of its supervisor, which need not be there."""
        self._kernel = kernel
        self._warnings = warnings
        self._control = control

    async def ListDevices(
        self,
        request: pb.ListDevicesRequest,
        context: Any,
    ) -> pb.ListDevicesResponse:
        """List the devices, ascending by address."""
        found = self._kernel.devices.values()
        await asyncio.gather(*(device.look() for device in found))
        devices = [self._describe(device) for device in found]
        return pb.ListDevicesResponse(
            machine=self._kernel.machine.name, devices=devices, warnings=self._warnings()
        )

    async def ListNodes(
        self,
        request: pb.ListNodesRequest,
        context: Any,
    ) -> pb.ListNodesResponse:
        """List the nodes of the device tree, as many as one message takes."""
        found = self._kernel.machine.nodes
        response = pb.ListNodesResponse()
        room = NODES_BYTES_MAX
        for node in found:
            listed = pb.Node(
                path=node.path,
                compatible=node.compatible,
                fate=pb.NodeFate.Value(f"NODE_FATE_{node.fate.name}"),
                detail=node.reason,
                device=node.device,
                mmio_address=node.address,
            )
            room -= listed.ByteSize() + 8
            if room < 0:
                break
            response.nodes.append(listed)
        response.left_out = len(found) - len(response.nodes)
        return response

    async def ResetDevice(
        self, request: pb.ResetDeviceRequest, context: Any
    ) -> pb.ResetDeviceResponse:
        """Give a device back, and bring it up anew."""
        device = self._kernel.device(request.device)
        await device.reset()
        return pb.ResetDeviceResponse(state=state_of(device), detail=device.detail)

    async def DetachDevice(
        self, request: pb.DetachDeviceRequest, context: Any
    ) -> pb.DetachDeviceResponse:
        """Give a device back, and leave it alone."""
        device = self._kernel.device(request.device)
        await device.detach()
        return pb.DetachDeviceResponse(state=state_of(device), detail=device.detail)

    async def AttachDevice(
        self, request: pb.AttachDeviceRequest, context: Any
    ) -> pb.AttachDeviceResponse:
        """Bring a device up that was detached."""
        device = self._kernel.device(request.device)
        await device.attach()
        return pb.AttachDeviceResponse(state=state_of(device), detail=device.detail)

    async def RestartDevice(
        self, request: pb.RestartDeviceRequest, context: Any
    ) -> pb.RestartDeviceResponse:
        """Have the process of a device started anew."""
        device = self._kernel.device(request.device)
        done = await restart_process(self._control, device.node.name)
        with contextlib.suppress(TimeoutError):
            async with time_limit(RESTART_SECONDS):
                while await self._is_unsettled(device):  # noqa: ASYNC110 - it is asked each time
                    await asyncio.sleep(LOOK_SECONDS)
        return pb.RestartDeviceResponse(
            state=state_of(device), detail=device.detail, pid=done.pid, held=done.held
        )

    @staticmethod
    async def _is_unsettled(device: MachineDevice) -> bool:
        """Ask a device itself: that its last process has ended may not be known yet."""
        await device.look()
        return state_of(device) in UNSETTLED

    def _describe(self, device: MachineDevice) -> pb.Device:
        """Describe one device."""
        node = device.node
        return pb.Device(
            name=node.name,
            compatible=node.compatible[0] if node.compatible else "",
            mmio_address=node.address,
            irq=node.irq,
            virtio_device_id=device.device_id,
            state=state_of(device),
            detail=device.news,
            driver=device.driver_name,
            features=device.features,
            doorbell=device.doorbell,
            interrupts=device.interrupts,
            requests=device.requests,
            endpoint=node.endpoint,
            vhost_user_socket=device.vhost_user_socket,
        )


def state_of(device: MachineDevice) -> pb.ProbeState.ValueType:
    """Return how far the kernel is with a device."""
    return pb.ProbeState.Value(f"PROBE_STATE_{shown_state(device)}")
