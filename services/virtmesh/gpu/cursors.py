"""The commands of the cursor queue (virtio 1.4, 5.7.6.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.gpu.commands import Answer, unpack
from virtmesh.gpu.refused import Refused
from virtmesh.gpu.scanout import Cursor
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CURSOR_SIDE, PIXEL, Command, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_native import GuestMemory

    from virtmesh.gpu.resources import Resources
    from virtmesh.gpu.scanout import Scanout

CURSOR_BYTES = CURSOR_SIDE * CURSOR_SIDE * PIXEL
"""Bytes of the image of a cursor."""


class CursorCommands:
    """Carries out commands of the cursor queue."""

    def __init__(self, resources: Resources, scanouts: Sequence[Scanout]) -> None:
        self._resources = resources
        self._scanouts = scanouts
        self._shapes = [(0, 0, 0)] * len(scanouts)
        """Resource and hot spot of each cursor."""
        self.last = (0, b"")
        """The scanout of the last command, and a command that shows its cursor as it is now."""

    @property
    def count(self) -> int:
        """Cursors that there are."""
        return len(self._scanouts)

    def reset(self) -> None:
        """Hide every cursor."""
        self._shapes = [(0, 0, 0)] * len(self._scanouts)
        for scanout in self._scanouts:
            scanout.set_cursor(Cursor())

    def carry_out(self, command: int, body: bytes, memory: GuestMemory) -> Answer:
        """Carry out a command. Errors: Refused."""
        number, x, y, resource, hot_x, hot_y = unpack(spec.UPDATE_CURSOR, body)
        if number >= len(self._scanouts):
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID,
                f"there is no scanout {number}: the device has {len(self._scanouts)}",
            )
        scanout = self._scanouts[number]
        if command == Command.VIRTIO_GPU_CMD_MOVE_CURSOR:
            scanout.move_cursor(x, y)
            resource, hot_x, hot_y = self._shapes[number]
        elif command == Command.VIRTIO_GPU_CMD_UPDATE_CURSOR:
            scanout.set_cursor(Cursor(x, y, hot_x, hot_y, self._image(resource, memory)))
        else:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_UNSPEC,
                f"command {command:#06x} is none of the cursor queue",
            )
        self._shapes[number] = resource, hot_x, hot_y
        self.last = number, spec.UPDATE_CURSOR.pack(number, x, y, resource, hot_x, hot_y)
        return Answer()

    def _image(self, number: int, memory: GuestMemory) -> bytes:
        """Return the image of a resource; none for 0, which hides the cursor. Errors: Refused.

        A blob has no size and no format. Linux' cursors are blobs if a device has them, with blue
        first; QEMU's device takes them so.
        """
        if not number:
            return b""
        resource = self._resources.find(number)
        if resource.surface is None:
            image = resource.read(memory, CURSOR_BYTES)
            if image is not None:
                return image
        elif (resource.width, resource.height) == (CURSOR_SIDE,) * 2:
            return resource.surface.to_bgra()
        if resource.surface is None:
            size = f"a blob with {resource.size} bytes, not all of them backed"
        else:
            size = f"{resource.width}x{resource.height}"
        raise Refused(
            Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER,
            f"a cursor is a resource of {CURSOR_SIDE}x{CURSOR_SIDE} pixels, and resource {number}"
            f" is {size}",
            "gpu-cursor-size",
        )
