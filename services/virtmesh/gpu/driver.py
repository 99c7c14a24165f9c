"""The driver of virtio GPU devices in 2D (virtio 1.4, 5.7).

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

When the device is live, the driver asks for the mode of the first screen, makes a framebuffer of
that size in guest memory, and shows it. Another mode has it make another one. Each command asks for
a fence, so that an answer means that the command is complete.

The pixels of a device that was lost are the driver's: the next process of the device shows them
again.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.drivers.pool import Pool
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.gpu.framebuffer import Drawn, Framebuffer, Pointer
from virtmesh.gpu.gpu_device import GpuDevice, blacken
from virtmesh.gpu.slots import ANSWER_BYTES, SLOTS, Slot, make_slots
from virtmesh.virtio.queue import VirtQueue
from virtmesh_common.errors import DriverError, QueueUnusable, RingCorrupt, VirtmeshError
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.errors import BadRectangle, CommandFailed
from virtmesh_common.gpu.spec import CONTROLQ, CURSOR_SIDE, CURSORQ, Command, Format, Response

if TYPE_CHECKING:
    from virtmesh.attach.bus import Bus

log = structlog.get_logger(__name__)

FALLBACK = (1024, 768)
"""The mode that is used when no screen is connected (5.7.5)."""
FRAMEBUFFER, CURSOR = 1, 2
"""Numbers of the resources."""
EMPTY = memoryview(bytearray())
CHAIN = 2
"""Buffers of a command: request and answer."""


class VirtIOGpu(VirtIODriver, GpuDevice):
    """A virtio GPU. The framebuffer is there once it is started."""

    family = spec.GpuFeature
    wanted = int(spec.GpuFeature.VIRTIO_GPU_F_EDID)

    def __init__(
        self,
        bus: Bus,
        interrupts: InterruptMode = InterruptMode.INTERRUPT,
        *,
        refused: int = 0,
    ) -> None:
        VirtIODriver.__init__(self, bus, interrupts, refused=refused)
        GpuDevice.__init__(self)
        self._slots: dict[int, Pool[Slot]] = {}
        self._under_way: dict[tuple[int, int], tuple[Slot, asyncio.Future[bytes]]] = {}
        self._framebuffer: Framebuffer | None = None
        self._dropped: list[Framebuffer] = []
        """Framebuffers of other modes of which somebody has slices still."""
        self._cursor: Framebuffer | None = None
        self._pointer: Pointer | None = None
        self._drawn: Drawn | None = None

    @property
    def facts(self) -> list[str]:
        """The size of the framebuffer."""
        return ["screen: {}x{}".format(*self.resolution)]

    @property
    def resolution(self) -> tuple[int, int]:
        """Width and height of the framebuffer, in pixels."""
        buffer = self._framebuffer
        return (buffer.width, buffer.height) if buffer is not None else (0, 0)

    def get_framebuffer(self) -> memoryview:
        """Return the pixels, row by row."""
        return self._framebuffer.view if self._framebuffer is not None else EMPTY

    def keep(self) -> Drawn | None:
        """Return what is shown, or what was to be shown again."""
        if self._drawn is not None or self._framebuffer is None:
            return self._drawn
        buffer, self._framebuffer = self._framebuffer, None
        return Drawn(buffer, self._pointer)

    def take_over(self, kept: object) -> None:
        """Show what was shown before, once the device is live."""
        self._drawn = kept if isinstance(kept, Drawn) else None

    async def set_up(self) -> None:
        """Set the two queues up, with memory for commands."""
        for index in (CONTROLQ, CURSORQ):
            offered = await self.header.queue_size_max(index)
            if offered < CHAIN:
                raise QueueUnusable(
                    f"{self.name} has no queue {index} for {CHAIN} buffers; a GPU has queues"
                    f" {CONTROLQ} and {CURSORQ} (5.7.2)"
                )
            size = min(1 << offered.bit_length() - 1, SLOTS * CHAIN)
            self.queues.append(await VirtQueue.set_up(self.header, index, size, chain_max=CHAIN))
            fit = min(SLOTS, size // CHAIN)
            self._slots[index] = Pool(list(make_slots(self.bus.ram))[:fit])

    async def ready(self) -> None:
        """Show a framebuffer in the mode of the first screen."""
        await self._show(*await self.mode())
        drawn, buffer = self._drawn, self._framebuffer
        if drawn is None or buffer is None:
            return
        before, pointer = drawn.framebuffer, drawn.pointer
        buffer.copy_from(before.view, before.width, before.height)
        await self.flush()
        if pointer is not None:
            where = (pointer.x, pointer.y, pointer.hot_x, pointer.hot_y)
            await self.update_cursor(pointer.image, *where)
        self._drawn = None
        before.unmap()

    async def config_changed(self) -> None:
        """Follow the screen to another mode."""
        pending = await self.header.bus.read(spec.EVENTS_READ)
        if not pending & spec.GpuEvent.VIRTIO_GPU_EVENT_DISPLAY:
            return
        await self.header.bus.write(spec.EVENTS_CLEAR, int(spec.GpuEvent.VIRTIO_GPU_EVENT_DISPLAY))
        mode, before = await self.mode(), self.resolution
        if mode == before:
            return
        try:
            await self._show(*mode)
        except (MemoryError, CommandFailed) as error:
            log.warning(
                "the screen keeps its size: another framebuffer can't be had",
                device=self.name,
                mode=mode,
                why=str(error),
            )
            try:
                await self._show(*before)
            except MemoryError as full:  # Somebody has a slice of the framebuffer of before.
                raise DriverError(str(full)) from full

    async def mode(self) -> tuple[int, int]:
        """Return the preferred mode of the first screen that is connected."""
        answer = await self.command(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO)
        for _, _, width, height, enabled, _ in spec.DISPLAY_ONE.iter_unpack(answer):
            if enabled and width and height:
                return width, height
        return FALLBACK

    async def edid(self, scanout: int = 0) -> bytes:
        """Return the EDID of a screen. Errors: CommandFailed."""
        body = spec.GET_EDID.pack(scanout)
        answer = await self.command(Command.VIRTIO_GPU_CMD_GET_EDID, body)
        size, data = spec.RESP_EDID.unpack(answer[: spec.RESP_EDID.size])
        edid: bytes = data[:size]
        return edid

    async def flush(self, x: int = 0, y: int = 0, width: int = 0, height: int = 0) -> None:
        """Show a rectangle of the framebuffer; without a size all of it."""
        buffer = self._framebuffer
        columns, rows = self.resolution
        if not width and not height:
            x = y = 0
            width, height = columns, rows
        if buffer is None or not (
            x >= 0 and y >= 0 and 0 < width <= columns - x and 0 < height <= rows - y
        ):
            raise BadRectangle(
                f"{width}x{height} at {x},{y} is not inside of the framebuffer, {columns}x{rows}"
            )
        rect = (x, y, width, height)
        await self._transfer(FRAMEBUFFER, rect, (y * columns + x) * spec.PIXEL)
        body = spec.RESOURCE_FLUSH.pack(*rect, FRAMEBUFFER)
        await self.command(Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH, body)

    async def update_cursor(
        self, image: bytes | None, x: int, y: int, hot_x: int = 0, hot_y: int = 0
    ) -> None:
        """Show a cursor of 64 times 64 pixels; None hides it."""
        if image is not None:
            size = CURSOR_SIDE * CURSOR_SIDE * spec.PIXEL
            if len(image) != size:
                raise BadRectangle(
                    f"the image has {len(image)} bytes: a cursor is {CURSOR_SIDE}x{CURSOR_SIDE}"
                    f" pixels, {size} bytes"
                )
            if self._cursor is None:
                self._cursor = await self._create(
                    CURSOR, Format.VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, CURSOR_SIDE, CURSOR_SIDE
                )
            self._cursor.view[:] = image
            await self._transfer(CURSOR, (0, 0, CURSOR_SIDE, CURSOR_SIDE), 0)
        resource = CURSOR if image is not None else 0
        body = spec.UPDATE_CURSOR.pack(0, x, y, resource, hot_x, hot_y)
        await self.command(Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, body, queue=CURSORQ)
        self._pointer = Pointer(image, x, y, hot_x, hot_y) if image is not None else None

    async def move_cursor(self, x: int, y: int) -> None:
        """Move the cursor."""
        body = spec.UPDATE_CURSOR.pack(0, x, y, 0, 0, 0)
        await self.command(Command.VIRTIO_GPU_CMD_MOVE_CURSOR, body, queue=CURSORQ)
        if self._pointer is not None:
            self._pointer = replace(self._pointer, x=x, y=y)

    async def _show(self, width: int, height: int) -> None:
        """Make a black framebuffer and show it, in the place of the one before."""
        before = self._framebuffer
        if before is not None:
            self._framebuffer = None
            before.view.release()
            body = spec.RESOURCE_ID.pack(FRAMEBUFFER)
            await self.command(Command.VIRTIO_GPU_CMD_RESOURCE_UNREF, body)
            self._dropped.append(before)
        self._dropped = [one for one in self._dropped if not one.drop()]
        buffer = await self._create(
            FRAMEBUFFER, Format.VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, width, height
        )
        await blacken(lambda: buffer.view)
        self._framebuffer = buffer
        body = spec.SET_SCANOUT.pack(0, 0, width, height, 0, FRAMEBUFFER)
        await self.command(Command.VIRTIO_GPU_CMD_SET_SCANOUT, body)
        await self.flush()
        self.on_resize()

    async def _create(self, resource: int, pixels: Format, width: int, height: int) -> Framebuffer:
        """Make a resource with a backing of one piece. Errors: MemoryError; CommandFailed."""
        buffer = Framebuffer(self.bus.ram, width, height)
        body = spec.RESOURCE_CREATE_2D.pack(resource, pixels, width, height)
        try:
            await self.command(Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, body)
        except CommandFailed:
            buffer.drop()
            raise
        entry = spec.MEM_ENTRY.pack(buffer.address, buffer.size)
        body = spec.RESOURCE_ATTACH_BACKING.pack(resource, 1) + entry
        await self.command(Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, body)
        return buffer

    async def _transfer(self, resource: int, rect: tuple[int, int, int, int], offset: int) -> None:
        """Copy a rectangle from guest memory to a resource."""
        body = spec.TRANSFER_TO_HOST_2D.pack(*rect, offset, resource)
        await self.command(Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, body)

    # -- Commands -----------------------------------------------------------------------------

    async def command(self, command: int, body: bytes = b"", *, queue: int = CONTROLQ) -> bytes:
        """Send a command, and return what follows the header of its answer.

        Errors: CommandFailed, with the "response"; DeviceLost, DeviceNeedsReset, RingCorrupt.
        """
        header = spec.CTRL_HDR.pack(command, spec.VIRTIO_GPU_FLAG_FENCE, 0, 0, 0)
        slots = self._slots[queue]
        slot = await slots.take()
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        try:
            slot.write(header + body)
            token = self._add(queue, slot, len(header) + len(body))
        except BaseException:
            slots.give(slot)
            raise
        # From here on the slot is the device's until it gives the chain back: see `completed`.
        self._under_way[queue, token] = slot, done
        self.notify(self.queues[queue])
        return self._payload(command, await done)

    def _add(self, queue: int, slot: Slot, length: int) -> int:
        """Add a request and room for its answer to a queue; return its token."""
        token = self.queues[queue].add(
            [(slot.address, length)], [(slot.answer_address, ANSWER_BYTES)]
        )
        if token is None:
            raise RingCorrupt(f"queue {queue} of {self.name} is full, although a slot is free")
        return token

    def _payload(self, command: int, answer: bytes) -> bytes:
        """Return the payload of an answer. Errors: CommandFailed."""
        name = spec.COMMAND_NAMES.get(command, f"{command:#06x}")
        if len(answer) < spec.CTRL_HDR.size:
            raise CommandFailed(f"{self.name} answered {name} with {len(answer)} bytes")
        kind = spec.CTRL_HDR.unpack_from(answer)[0]
        if kind >= Response.VIRTIO_GPU_RESP_ERR_UNSPEC:
            response = spec.RESPONSE_NAMES.get(kind, f"{kind:#06x}")
            raise CommandFailed(f"{self.name} refused {name}: {response}", response=response)
        return answer[spec.CTRL_HDR.size :]

    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Wake the command that the device has answered."""
        slot, done = self._under_way.pop((queue.index, token), (None, None))
        if slot is None or done is None:
            raise RingCorrupt(
                f"{self.name} used buffer {token} of queue {queue.index}, which it does not have"
            )
        if not done.done():
            # Read at once: the slot is the next command's from here on.
            done.set_result(slot.read(written) if written <= ANSWER_BYTES else b"")
        self._slots[queue.index].give(slot)

    def abandon(self, error: VirtmeshError) -> None:
        """Fail every command."""
        for slots in self._slots.values():
            slots.fail(error.again)
        for _, done in self._under_way.values():
            if not done.done():
                done.set_exception(error.again())
        self._under_way.clear()

    async def close(self) -> None:
        """Stop, and unmap what is drawn in."""
        await super().close()
        for buffer in (self._framebuffer, self._cursor, *self._dropped):
            if buffer is not None:
                buffer.unmap()
        self._framebuffer = None
