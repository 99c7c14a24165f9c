"""The configuration space of a device as bytes, for vhost-user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.vhost_user.messages import CONFIG_MAX
from virtmesh_common.errors import DriverViolation, FrontEndViolation
from virtmesh_common.virtio.mmio import MMIO_CONFIG

if TYPE_CHECKING:
    from virtmesh.virtio.device import VirtioDevice
    from virtmesh_common.registers import Register


def read_config(model: VirtioDevice, offset: int, size: int) -> bytes:
    """Return a part of the space. Bytes that no field covers are 0. Errors: FrontEndViolation."""
    check_range(offset, size)
    space = bytearray(CONFIG_MAX)
    for field in model.config:
        start = offset_of(field)
        value = model.read_config(field).to_bytes(field.size, "little")
        space[start : start + field.size] = value
    return bytes(space[offset : offset + size])


def write_config(model: VirtioDevice, offset: int, content: bytes) -> None:
    """Write the writable fields that lie in a part of the space.

    QEMU writes the whole space of an input device: its read-only fields are ignored.
    Errors: FrontEndViolation; DriverViolation if no field is writable; BadValue of the model.
    """
    check_range(offset, len(content))
    written = False
    for field in model.config:
        start = offset_of(field) - offset
        inside = start >= 0 and start + field.size <= len(content)
        if inside and "W" in field.access.value:
            model.write_config(field, int.from_bytes(content[start : start + field.size], "little"))
            written = True
    if not written:
        raise DriverViolation(
            f"SET_CONFIG: {len(content)} bytes at offset {offset} hold no writable field"
        )


def offset_of(field: Register) -> int:
    """Return the offset of a field in the configuration space, in bytes."""
    return field.offset - MMIO_CONFIG


def check_range(offset: int, size: int) -> None:
    """Check a part of the space. Errors: FrontEndViolation."""
    if offset + size > CONFIG_MAX:
        raise FrontEndViolation(
            f"{size} bytes at offset {offset} end behind the configuration space of {CONFIG_MAX}"
            " bytes"
        )
