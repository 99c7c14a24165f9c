"""The quirks of virtio devices: for drivers that work with laxer devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.mmio.quirks import Quirk
from virtmesh.virtio.device import VIRTIO_VENDOR_ID
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.mmio import MMIO_CONFIG

if TYPE_CHECKING:
    from virtmesh.mmio.quirks import Quirks
    from virtmesh.virtio.device import VirtioDevice

NO_VERSION_1 = Quirk(
    "tolerate_no_version_1",
    breaks="version-1",
    judged=True,
    rule="a driver MUST accept VIRTIO_F_VERSION_1 if it is offered (6.1)",
    drivers="xv6-riscv; the crate virtio-drivers before 0.12; legacy drivers behind QEMU's"
    " transitional devices",
)
"""The device goes on without it. Rings and requests are the same on a little-endian machine."""
SINGLE_STATUS_BITS = Quirk(
    "tolerate_single_status_bits",
    breaks="status-clear",
    rule="a driver MUST NOT clear a bit of Status (2.1.1)",
    drivers="the crate virtio-drivers up to 0.6; drivers of the seL4 Device Driver Framework",
)
"""A write to Status keeps the bits that were set."""
WIDE_CONFIG_ACCESS = Quirk(
    "tolerate_wide_config_access",
    breaks="config-width",
    rule="a driver MUST read 64-bit fields of the configuration space by 32 bits (4.2.2.2)",
    drivers="drivers that read `capacity` through a pointer to 64 bits, as those of seL4 do",
)
"""A read of 8 bytes is two reads of 4."""
QEMU_VENDOR_ID = Quirk(
    "qemu_vendor_id",
    breaks="vendor-id",
    rule="VendorID names who made the device, and says nothing about how to drive it (4.2.2)",
    drivers="xv6-riscv, and kernels that were made of it",
)
"""VendorID reads as QEMU's."""

QUIRKS = (NO_VERSION_1, SINGLE_STATUS_BITS, WIDE_CONFIG_ACCESS, QEMU_VENDOR_ID)
"""What every virtio device knows."""
QEMU_VENDOR = 0x554D4551
"""VendorID of QEMU's virtio devices: "QEMU", little-endian."""
WIDE = 8
"""Bytes of the widest field of a configuration space."""


def missing_feature(model: VirtioDevice, features: int, quirks: Quirks) -> str:
    """Name a feature that is missing in what a driver accepts; empty if none is."""
    if not features & Feature.VIRTIO_F_VERSION_1 and not quirks.allow(
        NO_VERSION_1, "the driver does not accept VIRTIO_F_VERSION_1"
    ):
        return str(Feature.VIRTIO_F_VERSION_1.name)
    return model.missing_feature(features)


def is_wide(offset: int, width: int, quirks: Quirks) -> bool:
    """Say whether to read the two halves of a field one by one."""
    return (
        width == WIDE
        and offset >= MMIO_CONFIG
        and quirks.allow(WIDE_CONFIG_ACCESS, f"8 bytes were read at {offset:#x}")
    )


def vendor_id(quirks: Quirks) -> int:
    """Return what VendorID reads as."""
    return QEMU_VENDOR if quirks.allow(QEMU_VENDOR_ID, "VendorID was read") else VIRTIO_VENDOR_ID
