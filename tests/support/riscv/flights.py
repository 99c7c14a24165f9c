"""The requests that a device of a guest has in flight: read where the CPU service keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_native import GuestMemory, InFlightLog

from virtmesh.mmio.inflight_logs import logs_size
from virtmesh_common.api.device.v1 import device_pb2 as pb
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from tests.support.riscv.boot import Rig


class Flights:
    """The in-flight logs of a device, as memory that this process shares. Errors: LookupError."""

    def __init__(self, rig: Rig, device: str) -> None:
        with open_sync_channel(rig.address(device)) as channel:
            stub = DeviceServiceStub(channel)
            sizes = stub.Describe(pb.DescribeRequest()).queue_size_max
            features = stub.GetStatus(pb.GetStatusRequest()).driver_features
        self._packed = bool(features & Feature.VIRTIO_F_RING_PACKED)
        memory = _map(rig.cli.process("cpu").pid, logs_size(sizes))
        self._logs = []
        address = 0
        for size in sizes:
            self._logs.append(InFlightLog(memory, address, size))
            address += InFlightLog.length(size, packed=True)

    def count(self) -> int:
        """Return how many requests are in flight now."""
        return sum(log.in_flight(packed=self._packed) for log in self._logs)


def _map(process: int, size: int) -> GuestMemory:
    """Map the one in-flight log of that size that a process has open."""
    for link in Path(f"/proc/{process}/fd").iterdir():
        if "memfd:in-flight" in str(link.readlink()) and link.stat().st_size == size:
            descriptor = os.open(link, os.O_RDWR)
            try:
                return GuestMemory([(descriptor, 0, size, 0)])
            finally:
                os.close(descriptor)
    raise LookupError(f"process {process} has no in-flight log of {size} bytes")
