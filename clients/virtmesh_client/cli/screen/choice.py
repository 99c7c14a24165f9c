"""Which GPU a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh_common.errors import DeviceNotFound

if TYPE_CHECKING:
    from virtmesh_client.machine import Machine

GPU_DEVICE = 16
"""virtio 1.4, 5: the device ID of a GPU."""


def choose_gpu(machine: Machine, name: str | None) -> str:
    """Return the name of the GPU to use: `name`, or the only one.

    Errors: DeviceNotFound; UsageError if there are several.
    """
    if name is not None:
        return name
    names = [one.name for one in machine.devices() if one.virtio_device_id == GPU_DEVICE]
    if not names:
        raise DeviceNotFound("the machine has no GPU")
    if len(names) > 1:
        raise click.UsageError(f"there are several GPUs: choose {' or '.join(names)}")
    return names[0]
