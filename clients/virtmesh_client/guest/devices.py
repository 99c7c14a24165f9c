"""The devices of a machine that are reserved for guests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.models import DeviceInfo
    from virtmesh_common.virtio.ids import VirtioId

DISK_NAME = re.compile(r"vd([a-z])\d*")
"""Names of disks and partitions in a guest."""


def sockets(devices: Iterable[DeviceInfo], device_id: VirtioId) -> tuple[Path, ...]:
    """Return the vhost-user sockets of reserved devices with a virtio device ID, in order.

    Errors: GuestError if another guest uses one of them.
    """
    found = []
    for device in devices:
        if device.state == "reserved" and device.virtio_device_id == device_id:
            check_free(device)
            found.append(Path(device.vhost_user_socket))
    return tuple(found)


def check_root(root: str, disks: int) -> None:
    """Check that the disk of the root file system is one of the guest. Errors: GuestError."""
    match = DISK_NAME.fullmatch(root)
    if match is None or ord(match[1]) - ord("a") >= disks:
        last = f"vd{chr(ord('a') + disks - 1)}"
        raise GuestError(
            f"the guest has no disk {root}: its disks are vda to {last}; choose one of them, or"
            " --root none"
        )


def check_free(device: DeviceInfo) -> None:
    """Check that no other guest uses a device. Errors: GuestError."""
    if device.driver:
        raise GuestError(f"{device.name} is in use by {device.driver}: stop that guest first")


def check_sockets(paths: Iterable[Path]) -> None:
    """Check that paths are sockets on this host. Errors: GuestError."""
    for path in paths:
        if not path.is_socket():
            raise GuestError(
                f"{path} is not a socket on this host: start the device service on this host, with"
                " --vhost-user"
            )
