"""Virtio device IDs (virtio 1.4, 5)."""

from __future__ import annotations

from enum import IntEnum


class VirtioId(IntEnum):
    """IDs of the kinds of virtio devices that the specification describes."""

    NETWORK = 1
    BLOCK = 2
    CONSOLE = 3
    ENTROPY = 4
    TRADITIONAL_BALLOON = 5
    RPMSG = 7
    SCSI_HOST = 8
    P9_TRANSPORT = 9
    BALLOON = 13
    GPU = 16
    INPUT = 18
    SOCKET = 19
    CRYPTO = 20
    IOMMU = 23
    MEMORY = 24
    SOUND = 25
    FILE_SYSTEM = 26
    PMEM = 27
    RPMB = 28
    SCMI = 32
    I2C_ADAPTER = 34
    CAN = 36
    GPIO = 41


def device_name(device_id: int) -> str:
    """Name a kind of virtio device for people: "block device"; empty for one that has no name."""
    if device_id not in VirtioId.__members__.values():
        return ""
    return f"{VirtioId(device_id).name.lower().replace('_', ' ')} device"
