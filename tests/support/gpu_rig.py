"""A GPU and a driver that sends it one command after the other, each as the test wants it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_native import Recorder

from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.gpu.model import GpuModel
from virtmesh.gpu.settings import OFFERED, GpuOptions, Mode
from virtmesh.host.report import make_report
from virtmesh.mmio.device import Attachment
from virtmesh.testing.scripted_driver import LocalRegisters, ScriptedDriver
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, Command, Format, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

FEATURES = int(OFFERED)
ANSWER = spec.CTRL_HDR.size + spec.RESP_EDID.size
"""Room for the longest answer."""
OK = Response.VIRTIO_GPU_RESP_OK_NODATA
BGRX = Format.VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM
MODE = Mode(64, 48)
Place = tuple[int, int, int, int]


@dataclass(frozen=True)
class Answered:
    """The answer to a command. `written` is what the device says that it wrote, in bytes."""

    response: int
    flags: int
    fence: int
    payload: bytes
    written: int


class GpuDriver:
    """Sends commands. Guest memory that it takes is not given back."""

    def __init__(self, script: ScriptedDriver) -> None:
        self.script = script
        self.memory = script.ram.guest_memory
        self._request = self._answer = 0

    async def bring_up(self, features: int = FEATURES) -> None:
        """Bring the device up with its two queues."""
        await self.script.bring_up(features, queues=2)

    def pages(self, content: bytes) -> int:
        """Put bytes into guest memory; return their address."""
        address = self.script.ram.pages.allocate(len(content))
        self.memory.write(address, content)
        return address

    def post(self, request: bytes, *, queue: int = CONTROLQ, room: int = ANSWER) -> int:
        """Add a request to a queue, without ringing; return where its answer goes."""
        address = self.pages(request or bytes(1))
        place = self.pages(bytes(room)) if room else 0
        readable = [(address, len(request))] if request else []
        assert self.script.queues[queue].add(readable, [(place, room)] if room else []) is not None
        return place

    async def raw(
        self, request: bytes, *, queue: int = CONTROLQ, room: int = ANSWER
    ) -> tuple[int, bytes]:
        """Send a request; return the bytes that the device wrote, and what is in their place."""
        pages = self.script.ram.pages
        address = pages.allocate(max(len(request), 1))
        place = pages.allocate(max(room, 1))
        self.memory.write(address, request)
        self.memory.write(place, bytes(room))
        token = self.script.queues[queue].add(
            [(address, len(request))] if request else [], [(place, room)] if room else []
        )
        await self.script.ring(queue, by="eventfd")
        await self.script.used(queue)
        ((used, written),) = self.script.queues[queue].pop_used()
        assert used == token
        answer = self.memory.read(place, room) if room else b""
        pages.release(address)
        pages.release(place)
        return written, answer

    async def send(
        self,
        command: int,
        body: bytes = b"",
        *,
        queue: int = CONTROLQ,
        fence: int | None = None,
        room: int = ANSWER,
    ) -> Answered:
        """Send a command, with a fence if one is given."""
        flags = 0 if fence is None else spec.VIRTIO_GPU_FLAG_FENCE
        header = spec.CTRL_HDR.pack(command, flags, fence or 0, 0, 0)
        written, answer = await self.raw(header + body, queue=queue, room=room)
        response, came, number, _, _ = spec.CTRL_HDR.unpack_from(answer)
        return Answered(response, came, number, answer[spec.CTRL_HDR.size : written], written)

    async def ask(self, command: int, body: bytes = b"", *, queue: int = CONTROLQ) -> int:
        """Send a command; return the type of its answer."""
        return (await self.send(command, body, queue=queue)).response

    # -- Commands ---------------------------------------------------------------------------------

    async def create(self, number: int, width: int, height: int, pixels: int = BGRX) -> int:
        """Make a 2D resource."""
        body = spec.RESOURCE_CREATE_2D.pack(number, pixels, width, height)
        return await self.ask(Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, body)

    async def attach(self, number: int, pieces: Sequence[tuple[int, int]]) -> int:
        """Give a resource a backing of pieces: address and length of each."""
        body = spec.RESOURCE_ATTACH_BACKING.pack(number, len(pieces)) + entries(pieces)
        return await self.ask(Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, body)

    async def detach(self, number: int) -> int:
        """Take the backing of a resource away."""
        body = spec.RESOURCE_ID.pack(number)
        return await self.ask(Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, body)

    async def unref(self, number: int) -> int:
        """Destroy a resource."""
        body = spec.RESOURCE_ID.pack(number)
        return await self.ask(Command.VIRTIO_GPU_CMD_RESOURCE_UNREF, body)

    async def transfer(self, number: int, place: Place, offset: int = 0) -> int:
        """Copy a rectangle from the backing to a resource."""
        body = spec.TRANSFER_TO_HOST_2D.pack(*place, offset, number)
        return await self.ask(Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, body)

    async def scan_out(self, number: int, place: Place, scanout: int = 0) -> int:
        """Show a rectangle of a resource on a scanout."""
        body = spec.SET_SCANOUT.pack(*place, scanout, number)
        return await self.ask(Command.VIRTIO_GPU_CMD_SET_SCANOUT, body)

    async def flush(self, number: int, place: Place) -> int:
        """Show what has changed in a rectangle of a resource."""
        body = spec.RESOURCE_FLUSH.pack(*place, number)
        return await self.ask(Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH, body)

    async def point(  # noqa: PLR0913 - what the command has
        self, command: int, x: int, y: int, number: int = 0, *, scanout: int = 0, room: int = ANSWER
    ) -> Answered:
        """Update or move the cursor."""
        body = spec.UPDATE_CURSOR.pack(scanout, x, y, number, 1, 2)
        return await self.send(command, body, queue=CURSORQ, room=room)

    async def draw(self, number: int, width: int, height: int, pixels: bytes) -> int:
        """Make a resource with pixels, backed by one piece; return the address of that."""
        address = self.pages(pixels)
        assert await self.create(number, width, height) == OK
        assert await self.attach(number, [(address, len(pixels))]) == OK
        assert await self.transfer(number, (0, 0, width, height)) == OK
        return address

    async def show(self, number: int, width: int, height: int, pixels: bytes) -> int:
        """Draw a resource, and show it on the first scanout."""
        address = await self.draw(number, width, height, pixels)
        assert await self.scan_out(number, (0, 0, width, height)) == OK
        return address


class GpuRig(GpuDriver):
    """A GPU in this process, and its driver."""

    def __init__(self, device: VirtioMmio, model: GpuModel, script: ScriptedDriver) -> None:
        super().__init__(script)
        self.device = device
        self.model = model

    def picture(self, scanout: int = 0) -> bytes:
        """Return the pixels that a scanout shows."""
        picture = self.model.scanouts[scanout].picture
        assert picture is not None
        return picture.read((0, 0, picture.width, picture.height))

    @property
    def broken(self) -> list[str]:
        """The names of the rules about GPUs that the driver has broken."""
        found = [one.rule for one in make_report(self.device, "test").violations]
        return [name for name in found if name.startswith("gpu-")]

    @property
    def needs_reset(self) -> bool:
        """The device has given up."""
        return self.model.interrupt.fault is not None


def entries(pieces: Sequence[tuple[int, int]]) -> bytes:
    """Return entries of a backing."""
    return b"".join(spec.MEM_ENTRY.pack(*piece) for piece in pieces)


def opaque(pixels: bytes) -> bytes:
    """Return pixels of four bytes with the last of each 255, as pictures have them."""
    opaque = bytearray(pixels)
    opaque[3::4] = b"\xff" * (len(pixels) // 4)
    return bytes(opaque)


@asynccontextmanager
async def gpu_rig(
    *, ram: int = 4 << 20, up: bool = True, features: int = FEATURES, **options: int
) -> AsyncIterator[GpuRig]:
    """Make a GPU with small screens, and bring it up unless told otherwise."""
    model = GpuModel("gpu0", GpuOptions(mode=MODE, **options))
    device = VirtioMmio(model)
    device.interrupt.recorder = Recorder(256)
    doorbells = AttachmentEventfds.make(2)
    with Ram(ram) as memory:
        device.attach(
            Attachment("test", memory.guest_memory, doorbells.queues, doorbells.config_call)
        )
        rig = GpuRig(device, model, ScriptedDriver(LocalRegisters(device), memory, doorbells))
        if up:
            await rig.bring_up(features)
        yield rig
        device.begin_reset()
        await device.reset_done()
        await asyncio.sleep(0)
        device.detach()
        device.close()
    doorbells.close()
