"""The commands of the control queue, carried out (virtio 1.4, 5.7.6.8).

A command is parsed from a copy, checked whole, and then carried out. One that copies pixels
returns the copy as work: the model has it done where it holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from virtmesh_native import CopyCancel, Picture

from virtmesh.gpu.damage import Rect
from virtmesh.gpu.edid import make_edid
from virtmesh.gpu.refused import Refused
from virtmesh.gpu.resources import ENTRIES_MAX
from virtmesh.gpu.scanout import MemoryImage, Source
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from struct import Struct

    from virtmesh_native import GuestMemory

    from virtmesh.gpu.resources import Resource, Resources
    from virtmesh.gpu.scanout import Scanout

REQUEST_MAX = (
    spec.CTRL_HDR.size + spec.RESOURCE_CREATE_BLOB.size + ENTRIES_MAX * spec.MEM_ENTRY.size
)
"""Most bytes of a request that are read."""
PARAMETER = Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER


class Run(Protocol):
    """Makes a copy: see Copy."""

    def __call__(self, *, wait: bool) -> bool | None:
        """Copy."""


class Draw(Protocol):
    """Copies to a picture, as Run does."""

    def __call__(self, picture: Picture, /, *, wait: bool) -> bool | None:
        """Copy."""


@dataclass
class Copy:
    """Pixels to copy: `run` does it, on any thread; then `done` tells others, on the event loop.

    `size` is in bytes. `run` returns False if it was ended. It takes whether to wait while somebody
    reads what it writes to; if it may not, it returns None then, and has copied nothing.
    """

    size: int
    run: Run
    done: Callable[[], None]


@dataclass
class Answer:
    """What a command is answered with: a type and its payload; and what is to be copied before."""

    response: Response = Response.VIRTIO_GPU_RESP_OK_NODATA
    payload: bytes = b""
    copies: Sequence[Copy] = ()
    record: bytes = b""
    """What is kept of it for the next process of the device; empty for nothing."""


class Commands:
    """Carries out commands of the control queue. `cancel` ends the copies of all of them."""

    def __init__(self, resources: Resources, scanouts: Sequence[Scanout]) -> None:
        self.resources = resources
        self.scanouts = scanouts
        self.cancel = CopyCancel()
        self.features = 0
        self.loses_flush: Callable[[], bool] = lambda: False
        """Says of each flush whether a fault on demand keeps it from being shown."""
        self._handlers: Mapping[int, Callable[[bytes, GuestMemory], Answer]] = {
            Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO: self._get_display_info,
            Command.VIRTIO_GPU_CMD_GET_EDID: self._get_edid,
            Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D: self._create,
            Command.VIRTIO_GPU_CMD_RESOURCE_UNREF: self._unref,
            Command.VIRTIO_GPU_CMD_SET_SCANOUT: self._set_scanout,
            Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH: self._flush,
            Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D: self._transfer,
            Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING: self._attach,
            Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING: self._detach,
            Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB: self._create_blob,
            Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB: self._set_scanout_blob,
        }
        self._needs = {
            int(Command.VIRTIO_GPU_CMD_GET_EDID): spec.GpuFeature.VIRTIO_GPU_F_EDID,
            int(
                Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB
            ): spec.GpuFeature.VIRTIO_GPU_F_RESOURCE_BLOB,
            int(
                Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB
            ): spec.GpuFeature.VIRTIO_GPU_F_RESOURCE_BLOB,
        }

    def carry_out(self, command: int, body: bytes, memory: GuestMemory) -> Answer:
        """Carry out a command; `body` is what follows its header. Errors: Refused."""
        handler, needed = self._handlers.get(command), self._needs.get(command)
        if handler is None:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_UNSPEC, f"the device knows no command {command:#06x}"
            )
        if needed is not None and not self.features & needed:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_UNSPEC,
                f"{spec.COMMAND_NAMES[command]} needs {needed.name}, which was not negotiated",
                "gpu-command-feature",
            )
        return handler(body, memory)

    def end_copies(self) -> None:
        """End the copies that are under way; later ones are not ended."""
        self.cancel.set()
        self.cancel = CopyCancel()

    def reset(self) -> None:
        """Forget everything that the driver made."""
        self.resources.clear()
        self.features = 0
        for scanout in self.scanouts:
            scanout.show_nothing()

    # -- Screens ------------------------------------------------------------------------------

    def _get_display_info(self, _body: bytes, _memory: GuestMemory) -> Answer:
        """Tell the preferred mode of each scanout; they stand beside each other."""
        rows, x = [], 0
        for scanout in self.scanouts:
            if scanout.enabled:
                rows.append(
                    spec.DISPLAY_ONE.pack(x, 0, scanout.mode.width, scanout.mode.height, 1, 0)
                )
                x += scanout.mode.width
            else:
                rows.append(bytes(spec.DISPLAY_ONE.size))
        payload = b"".join(rows).ljust(spec.VIRTIO_GPU_MAX_SCANOUTS * spec.DISPLAY_ONE.size, b"\0")
        return Answer(Response.VIRTIO_GPU_RESP_OK_DISPLAY_INFO, payload)

    def _get_edid(self, body: bytes, _memory: GuestMemory) -> Answer:
        (number,) = unpack(spec.GET_EDID, body)
        scanout = self._scanout(number)
        edid = make_edid(scanout.mode, number)
        return Answer(Response.VIRTIO_GPU_RESP_OK_EDID, spec.RESP_EDID.pack(len(edid), edid))

    def _scanout(self, number: int) -> Scanout:
        """Return a scanout. Errors: Refused."""
        if number >= len(self.scanouts):
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID,
                f"there is no scanout {number}: the device has {len(self.scanouts)}",
            )
        return self.scanouts[number]

    # -- Resources ----------------------------------------------------------------------------

    def _create(self, body: bytes, _memory: GuestMemory) -> Answer:
        number, pixel_format, width, height = unpack(spec.RESOURCE_CREATE_2D, body)
        pictures = self._pictures()
        self.resources.create(number, pixel_format, width, height, pictures=pictures)
        return Answer()

    def _pictures(self, *, without: Scanout | None = None) -> int:
        """Return the bytes that the pictures of scanouts take."""
        shown = [one.picture for one in self.scanouts if one is not without]
        return sum(one.width * one.height * spec.PIXEL for one in shown if one is not None)

    def _create_blob(self, body: bytes, memory: GuestMemory) -> Answer:
        number, kind, _flags, count, _blob_id, size = unpack(spec.RESOURCE_CREATE_BLOB, body)
        if kind != spec.VIRTIO_GPU_BLOB_MEM_GUEST:
            raise Refused(
                PARAMETER,
                f"blob_mem is {kind}: without 3D a blob is guest memory (1)",
                "gpu-blob-mem",
            )
        entries = entries_of(body[spec.RESOURCE_CREATE_BLOB.size :], count)
        blob = self.resources.create_blob(number, size)
        if count:
            try:
                self.resources.attach(blob, memory, entries)
            except Refused:
                self.resources.destroy(blob)
                raise
        return Answer()

    def _unref(self, body: bytes, _memory: GuestMemory) -> Answer:
        """Forget a resource. A scanout that shows it shows nothing from now on."""
        resource = self.resources.find(*unpack(spec.RESOURCE_ID, body))
        for scanout in self.scanouts:
            if scanout.source is not None and scanout.source.resource == resource.number:
                scanout.show_nothing()
        self.resources.destroy(resource)
        return Answer()

    def _attach(self, body: bytes, memory: GuestMemory) -> Answer:
        number, count = unpack(spec.RESOURCE_ATTACH_BACKING, body)
        entries = entries_of(body[spec.RESOURCE_ATTACH_BACKING.size :], count)
        self.resources.attach(self.resources.find(number), memory, entries)
        return Answer()

    def _detach(self, body: bytes, _memory: GuestMemory) -> Answer:
        resource = self.resources.find(*unpack(spec.RESOURCE_ID, body))
        if resource.backing is None:
            raise Refused(
                Response.VIRTIO_GPU_RESP_ERR_UNSPEC, f"resource {resource.number} has no backing"
            )
        self.resources.detach(resource)
        return Answer()

    # -- Pixels -------------------------------------------------------------------------------

    def _transfer(self, body: bytes, _memory: GuestMemory) -> Answer:
        *place, offset, number = unpack(spec.TRANSFER_TO_HOST_2D, body)
        resource, rect, cancel = self.resources.find(number), Rect(*place), self.cancel
        surface, backing = resource.surface, resource.backing
        if surface is None or not rect.pixels:
            return Answer()  # A blob is guest memory: there is nothing to transfer.
        if backing is None:
            raise Refused(Response.VIRTIO_GPU_RESP_ERR_UNSPEC, f"resource {number} has no backing")

        def run(*, wait: bool) -> bool:
            del wait  # Nobody reads a resource.
            return surface.transfer(backing, rect.place, offset, cancel)

        return Answer(copies=[Copy(rect.pixels * spec.PIXEL, run, lambda: None)])

    def _set_scanout(self, body: bytes, _memory: GuestMemory) -> Answer:
        *place, number, resource_number = unpack(spec.SET_SCANOUT, body)
        scanout = self._scanout(number)
        if not resource_number:
            scanout.show_nothing()
            return Answer()
        resource, rect = self.resources.find(resource_number), Rect(*place)
        if resource.surface is None:
            raise Refused(PARAMETER, f"resource {resource_number} is a blob: use SET_SCANOUT_BLOB")
        check_inside(rect, resource.width, resource.height)
        return self._show(scanout, Source(resource_number, rect), resource)

    def _set_scanout_blob(self, body: bytes, _memory: GuestMemory) -> Answer:
        values = unpack(spec.SET_SCANOUT_BLOB, body)
        place, (number, resource_number, width, height, pixel_format) = values[:4], values[4:9]
        strides, offsets = values[9:13], values[13:17]
        scanout = self._scanout(number)
        if not resource_number:
            scanout.show_nothing()
            return Answer()
        resource, rect = self.resources.find(resource_number), Rect(*place)
        if resource.surface is not None:
            raise Refused(PARAMETER, f"resource {resource_number} is no blob: use SET_SCANOUT")
        if pixel_format not in spec.FORMAT_NAMES:
            raise Refused(PARAMETER, f"{pixel_format} is no format of pixels", "gpu-blob-format")
        check_inside(rect, width, height)
        image = MemoryImage(pixel_format, width, height, offsets[0], strides[0])
        end = offsets[0] + (height - 1) * strides[0] + width * spec.PIXEL
        if strides[0] < width * spec.PIXEL or end > resource.size:
            raise Refused(
                PARAMETER,
                f"an image of {width}x{height} with {strides[0]} bytes in a row, from byte"
                f" {offsets[0]} on, is not inside of a blob of {resource.size} bytes",
            )
        return self._show(scanout, Source(resource_number, rect, image), resource)

    def _show(self, scanout: Scanout, source: Source, resource: Resource) -> Answer:
        """Show a rectangle of a resource on a scanout, as it is now."""
        rect = source.rect
        taken = self.resources.memory + self._pictures(without=scanout)
        self.resources.check_room(rect.width, rect.height, taken=taken)
        before = scanout.picture
        same_size = before is not None and (before.width, before.height) == (
            rect.width,
            rect.height,
        )
        # A page flip: the pixels change, the picture stays.
        picture = before if same_size else None
        whole = Rect(0, 0, rect.width, rect.height)
        draw, size = self._drawing(resource, source, whole), whole.pixels * spec.PIXEL
        shown: list[Picture] = []

        def run(*, wait: bool) -> bool | None:
            target = picture or Picture(rect.width, rect.height)
            shown[:] = [target]
            return True if draw is None else draw(target, wait=wait)

        def done() -> None:
            if picture is None:
                scanout.show(source, shown[0])
                return
            scanout.source = source
            scanout.flushed(whole, size)

        return Answer(copies=[Copy(size, run, done)])

    def _drawing(self, resource: Resource, source: Source, target: Rect) -> Draw | None:
        """Return what draws a rectangle of a picture from its source; None if there is nothing."""
        cancel = self.cancel
        place = source.rect.x + target.x, source.rect.y + target.y
        surface, backing, image = resource.surface, resource.backing, source.image
        if surface is not None:
            return lambda picture, *, wait: picture.show(
                surface, place, target.place, cancel, wait=wait
            )
        if backing is None or image is None:
            return None  # A blob whose memory is swapped out: what it showed stays.
        layout = (image.format, image.width, image.height, image.offset, image.stride)
        return lambda picture, *, wait: picture.show_memory(
            backing, layout, place, target.place, cancel, wait=wait
        )

    def _flush(self, body: bytes, _memory: GuestMemory) -> Answer:
        """Show what has changed in a rectangle of a resource, on each scanout that shows it."""
        *place, number = unpack(spec.RESOURCE_FLUSH, body)
        resource, rect = self.resources.find(number), Rect(*place)
        if resource.surface is not None and rect.pixels:
            check_inside(rect, resource.width, resource.height)
        if self.loses_flush():
            return Answer()
        copies = []
        for scanout in self.scanouts:
            source, picture = scanout.source, scanout.picture
            if source is None or picture is None or source.resource != number:
                continue
            seen = source.rect.overlap(rect)
            if seen is None:
                continue
            target = seen.moved(-source.rect.x, -source.rect.y)
            draw, size = self._drawing(resource, source, target), target.pixels * spec.PIXEL
            if draw is not None:
                tell = partial(scanout.flushed, target, size)
                copies.append(Copy(size, partial(draw, picture), tell))
        return Answer(copies=copies)


def unpack(struct: Struct, body: bytes) -> tuple[int, ...]:
    """Take the fixed part of a request apart. Errors: Refused for one that is too short."""
    if len(body) < struct.size:
        raise Refused(
            Response.VIRTIO_GPU_RESP_ERR_UNSPEC,
            f"the request has {len(body)} bytes behind its header, and needs {struct.size}",
            "gpu-request",
        )
    return struct.unpack_from(body)


def entries_of(rest: bytes, count: int) -> bytes:
    """Return the entries behind a request. Errors: Refused for too many, and for missing ones."""
    if count > ENTRIES_MAX:
        raise Refused(
            PARAMETER, f"{count} entries are too many for one backing: at most {ENTRIES_MAX}"
        )
    size = count * spec.MEM_ENTRY.size
    if len(rest) < size:
        raise Refused(
            PARAMETER,
            f"{count} entries take {size} bytes, and {len(rest)} follow the request",
            "gpu-request",
        )
    return rest[:size]


def check_inside(rect: Rect, width: int, height: int) -> None:
    """Check a rectangle of a resource. Errors: Refused for one that is not inside."""
    if not (rect.pixels and rect.right <= width and rect.bottom <= height):
        raise Refused(
            PARAMETER,
            f"the rectangle {rect.width}x{rect.height}+{rect.x}+{rect.y} is not inside of"
            f" {width}x{height}",
            "gpu-rectangle",
        )
