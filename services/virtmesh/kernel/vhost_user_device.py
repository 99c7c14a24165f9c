"""A device that the kernel leaves to guests: a real kernel drives it, over vhost-user.

Its node in the device tree has the status "reserved" (Devicetree Specification 0.4, 2.3.4). This
kernel never attaches to it; it says who has it, and forwards what people ask of it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import grpc.aio

from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.kernel.device import LOOK_TIMEOUT_S, PAUSES_S, MachineDevice, ProbeState
from virtmesh.kinds import kind_of
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import DeviceNotReady, from_rpc_error
from virtmesh_common.virtio.features import feature_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.kernel.boot_log import BootLog
    from virtmesh.kernel.tree import DeviceNode
    from virtmesh_common.errors import VirtmeshError


class VhostUserDevice(MachineDevice):
    """A device that guests drive; `look` refreshes what it says."""

    def __init__(self, node: DeviceNode, boot_log: BootLog, events: int) -> None:
        super().__init__(node, boot_log, events)
        self._status = device_pb2.GetStatusResponse()
        self._stats = device_pb2.GetStatsResponse()

    @property
    def driver_name(self) -> str:
        """Who drives it; empty: nobody."""
        return self._status.driver_name

    @property
    def features(self) -> Sequence[str]:
        """Names of the features that were negotiated with the guest, ascending by bit."""
        kind = kind_of(self.node.compatible, self.device_id)
        if kind is None or kind.driver is None or not issubclass(kind.driver, VirtIODriver):
            return ()
        return feature_names(self._status.driver_features, kind.driver.family)

    @property
    def requests(self) -> int:
        """Requests that its service has completed since it started."""
        return self._stats.requests

    @property
    def interrupts(self) -> int:
        """Interrupts that its service has raised since it started."""
        return self._stats.interrupts

    @property
    def doorbell(self) -> str:
        """Nothing: it is a matter of the guest."""
        return ""

    def ready_driver(self) -> NoReturn:
        """Refuse: this kernel has no driver for it. Errors: DeviceNotReady."""
        raise DeviceNotReady(
            f"{self.node.name} is left to guests, so this kernel does not drive it: do it in the"
            " guest, or take vhost-user out of the machine file",
            state=self.state.name,
        )

    async def run(self) -> None:
        """Look until its service answers; after that, when somebody wants to know."""
        pause, longest = PAUSES_S[ProbeState.WAITING]
        await self.look()
        while self.state is ProbeState.WAITING:
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
            await self.look()

    async def _ask(self) -> Callable[[], None]:
        """Ask the device service who has it, and what it has done."""
        timeout = LOOK_TIMEOUT_S
        async with open_channel(self.node.endpoint) as channel:
            stub = DeviceServiceStub(channel)
            try:
                about = await stub.Describe(device_pb2.DescribeRequest(), timeout=timeout)
                status = await stub.GetStatus(device_pb2.GetStatusRequest(), timeout=timeout)
                stats = await stub.GetStats(device_pb2.GetStatsRequest(), timeout=timeout)
            except grpc.aio.AioRpcError as failure:
                return partial(self._lose, from_rpc_error(failure, self.node.endpoint))
        return partial(self._take, about, status, stats)

    def _lose(self, error: VirtmeshError) -> None:
        self._status = device_pb2.GetStatusResponse()
        self._note_look(None, in_use=False)
        self._move(ProbeState.WAITING, error.message)

    def _take(
        self,
        about: device_pb2.DescribeResponse,
        status: device_pb2.GetStatusResponse,
        stats: device_pb2.GetStatsResponse,
    ) -> None:
        self.device_id, self.kind = about.virtio_device_id, about.kind
        self.vhost_user_socket = about.vhost_user_socket
        self._status, self._stats = status, stats
        self._note_look(status, in_use=True)
        if self.vhost_user_socket:
            self._move(ProbeState.RESERVED, "" if status.attached else "waits for a guest")
        else:
            self._move(ProbeState.FAILED, "its service has no --vhost-user socket for guests")
