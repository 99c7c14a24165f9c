"""What a guest gets of a machine: the devices that its kernel service leaves to guests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.models import DeviceInfo

BLK = 2
"""Virtio device ID of a disk (virtio 1.4, 5)."""
INPUT = 18
"""Virtio device ID of an input device."""
DISK_NAME = re.compile(r"vd([a-z])\d*")
"""How a guest calls its disks, and their partitions."""


def sockets(devices: Iterable[DeviceInfo], device_id: int) -> tuple[Path, ...]:
    """Return the sockets of one kind of devices, in the order of the machine.

    Errors: GuestError when another guest has one.
    """
    found = []
    for device in devices:
        if device.state == "reserved" and device.virtio_device_id == device_id:
            check_free(device)
            found.append(Path(device.vhost_user_socket))
    return tuple(found)


def check_root(root: str, disks: int) -> None:
    """Refuse a root file system on a disk that the guest does not get. Errors: GuestError."""
    match = DISK_NAME.fullmatch(root)
    if match is None or ord(match[1]) - ord("a") >= disks:
        last = f"vd{chr(ord('a') + disks - 1)}"
        raise GuestError(
            f"the guest gets no disk {root}: its disks are vda to {last}, or say --root none"
        )


def check_free(device: DeviceInfo) -> None:
    """Refuse a device that this guest would wait for. Errors: GuestError."""
    if device.driver:
        raise GuestError(f"{device.name} is taken by {device.driver}: end that guest first")


def check_sockets(paths: Iterable[Path]) -> None:
    """Refuse paths that are no sockets here. Errors: GuestError."""
    for path in paths:
        if not path.is_socket():
            raise GuestError(
                f"{path} is no socket on this host: start the device service here, with"
                " --vhost-user"
            )
