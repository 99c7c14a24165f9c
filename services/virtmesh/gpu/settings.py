"""What a GPU is made of, and the features that it offers."""

from __future__ import annotations

from dataclasses import dataclass, field

from virtmesh_common.gpu.errors import BadMode
from virtmesh_common.gpu.spec import MAX_SIDE, MIN_SIDE, GpuFeature
from virtmesh_common.virtio.features import TRANSPORT_FEATURES

SCANOUTS_MAX = 4
"""Most scanouts of one device."""
MEMORY_MAX = 256 << 20
"""Default limit of the memory of all resources, in bytes."""
QUEUE_SIZE = 256
"""Default size of a queue, in entries."""
OFFERED = TRANSPORT_FEATURES | GpuFeature.VIRTIO_GPU_F_EDID | GpuFeature.VIRTIO_GPU_F_RESOURCE_BLOB
"""Features of every GPU."""


@dataclass(frozen=True)
class Mode:
    """Width and height of a screen, in pixels. Errors: BadMode."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if not (MIN_SIDE <= self.width <= MAX_SIDE and MIN_SIDE <= self.height <= MAX_SIDE):
            raise BadMode(
                f"{self} is no mode of a screen: width and height are {MIN_SIDE} to {MAX_SIDE}"
            )

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class GpuOptions:
    """What a GPU is made of. `memory_max` is in bytes, `queue_size` in entries.

    `without` has the bits of features that it does not offer.
    """

    scanouts: int = 1
    mode: Mode = field(default_factory=lambda: Mode(1280, 800))
    memory_max: int = MEMORY_MAX
    queue_size: int = QUEUE_SIZE
    without: int = 0
