"""A virtio device that holds chains until a test lets go of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.queue_device import Chain, QueueDevice
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.virtio.features import TRANSPORT_FEATURES

if TYPE_CHECKING:
    from virtmesh_common.registers import Register

SIZES = (16, 8)


class HoldingModel(QueueDevice):
    """Takes chains, and gives back those that it is told to."""

    kind = "holder"
    device_id = 42

    def __init__(
        self, config: tuple[Register, ...] = (), features: int = TRANSPORT_FEATURES
    ) -> None:
        super().__init__("hold", SIZES, features)
        self.config = config
        self.held: list[Chain] = []

    def take(self, chain: Chain) -> None:
        """Hold a chain."""
        self.held.append(chain)

    def give_back(self, place: int) -> None:
        """Use the chain that is held at a place."""
        self.held.pop(place).push(0)

    def queue_stopped(self, index: int) -> None:
        """Forget the chains of a queue."""
        self.held = [chain for chain in self.held if chain.queue != index]

    @property
    def tokens(self) -> list[int]:
        """The tokens of the chains that are held, in the order in which they came."""
        return [chain.token for chain in self.held]


def describe(device: VirtioMmio) -> device_pb2.DescribeResponse:
    """Say what a device is, as its service would."""
    about = device.description
    return device_pb2.DescribeResponse(
        name=about.name,
        kind=about.kind,
        compatible=about.compatible,
        virtio_device_id=about.virtio_device_id,
        mmio_size_bytes=about.mmio_size_bytes,
        queue_size_max=about.queue_size_max,
    )
