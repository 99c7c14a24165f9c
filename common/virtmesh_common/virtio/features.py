"""Feature bits that are the same for every device (virtio 1.4, 6), and their names.

The bits of one kind of device stand with its configuration layout, such as that of
virtmesh_common.blk.spec.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FEATURE_WORDS = 4
"""Words of 32 feature bits that the specification allots (2.2: bits 0 to 127)."""


class Feature(IntFlag):
    """Reserved feature bits (6) that virtmesh knows."""

    VIRTIO_F_INDIRECT_DESC = 1 << 28
    """Descriptors may refer to tables of descriptors (2.7.5.3, 2.8.7)."""
    VIRTIO_F_EVENT_IDX = 1 << 29
    """Notifications are asked for by where the ring gets to (2.7.7, 2.7.10, 2.8.10)."""
    VIRTIO_F_VERSION_1 = 1 << 32
    """Not a legacy device or driver."""
    VIRTIO_F_ACCESS_PLATFORM = 1 << 33
    """Memory accesses are limited or translated."""
    VIRTIO_F_RING_PACKED = 1 << 34
    """Packed virtqueues (2.8)."""
    VIRTIO_F_IN_ORDER = 1 << 35
    """Buffers are used in the order in which they were made available."""
    VIRTIO_F_ORDER_PLATFORM = 1 << 36
    """Memory accesses are ordered as the platform says."""
    VIRTIO_F_SR_IOV = 1 << 37
    """Single root I/O virtualization (PCI only)."""
    VIRTIO_F_NOTIFICATION_DATA = 1 << 38
    """Notifications carry more than the queue's index (2.9)."""
    VIRTIO_F_NOTIF_CONFIG_DATA = 1 << 39
    """Notifications carry a value that the device chose (PCI only)."""
    VIRTIO_F_RING_RESET = 1 << 40
    """A queue can be reset by itself (2.6.1)."""
    VIRTIO_F_ADMIN_VQ = 1 << 41
    """Administration virtqueues (PCI only)."""


TRANSPORT_FEATURES = (
    Feature.VIRTIO_F_INDIRECT_DESC
    | Feature.VIRTIO_F_EVENT_IDX
    | Feature.VIRTIO_F_VERSION_1
    | Feature.VIRTIO_F_RING_PACKED
    | Feature.VIRTIO_F_RING_RESET
)
"""What the rings and the transport can do: every device offers it, every driver uses it."""


def feature_names(features: int, family: type[IntFlag]) -> list[str]:
    """Name feature bits, ascending by bit; `family` has the bits of the kind of device."""
    return name_features(features, feature_bits(family))


def feature_bits(family: type[IntFlag]) -> dict[int, str]:
    """Return the names of the feature bits of a kind of device, by number of the bit."""
    # By __members__: a kind may have none at all.
    return {int(flag).bit_length() - 1: name for name, flag in family.__members__.items()}


def name_features(features: int, names: Mapping[int, str]) -> list[str]:
    """Name feature bits, ascending by bit; `names` has those of the kind, by number of the bit."""
    return [_name(bit, names) for bit in range(features.bit_length()) if features >> bit & 1]


def _name(bit: int, names: Mapping[int, str]) -> str:
    """Name one feature bit."""
    return names.get(bit) or TRANSPORT_NAMES.get(bit) or f"bit {bit}"


TRANSPORT_NAMES = feature_bits(Feature)
"""Names of the feature bits of every device, by number of the bit."""
