"""Feature bits that are the same for every device (virtio 1.4, 6), and their names.

The bits of one kind of device stand with its configuration layout, such as that of
virtmesh_common.blk.spec.
"""

from __future__ import annotations

from enum import IntFlag

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
    return [_name(bit, family) for bit in range(features.bit_length()) if features >> bit & 1]


def _name(bit: int, family: type[IntFlag]) -> str:
    """Name one feature bit."""
    for flags in (family, Feature):
        for name, flag in flags.__members__.items():  # a kind may have none at all
            if flag == 1 << bit:
                return name
    return f"bit {bit}"
