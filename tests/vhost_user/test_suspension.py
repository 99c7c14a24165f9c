"""A front end that stops a GPU, and goes on: its guest was paused, or begins anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.vhost_user.front_end import PROTOCOL, FrontEndRing, VhostFrontEnd
from virtmesh.gpu.kind import KIND
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.settings import Mode
from virtmesh.host.host import Addresses, Host
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import ProtocolFeature, Request
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, Command, Format, Response
from virtmesh_common.virtio.features import Feature

SIDE, SIZE = 16, 4
"""Of a picture, in pixels; of a ring, in entries."""
DRAWN = b"\x11\x22\x33\xff" * (SIDE * SIDE)
WHOLE = (0, 0, SIDE, SIDE)
KINDS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}
"""Kinds of rings, by the feature that is not agreed on."""
PROTOCOLS = {"with STATUS": PROTOCOL, "without": PROTOCOL & ~ProtocolFeature.STATUS}
"""Front ends: QEMU sends SET_STATUS 0 whenever it stops."""


class Gpu:
    """A GPU service, and a front end that drives it."""

    def __init__(self, model: GpuModel, front_end: VhostFrontEnd) -> None:
        self.model = model
        self.front_end = front_end
        self.rings: list[FrontEndRing] = []

    async def start(self) -> None:
        """Start new rings."""
        self.rings = [await self.front_end.start_ring(index, SIZE) for index in (CONTROLQ, CURSORQ)]

    async def stop(self) -> list[int]:
        """Stop as QEMU does, for whatever reason; return the bases of the rings."""
        bases = [await self.front_end.stop_ring(ring) for ring in self.rings]
        if ProtocolFeature.STATUS in self.front_end.protocol:
            await self.front_end.tell(Request.SET_STATUS, vu.U64(0))
        return bases

    async def agree(self, without: int = 0) -> None:
        """Send the features once more."""
        features = self.front_end.features & ~without
        await self.front_end.tell(Request.SET_FEATURES, vu.U64(features))

    async def go_on(self, bases: list[int]) -> None:
        """Start the rings where they were stopped."""
        await self.agree()
        await self.front_end.share()
        for ring, base in zip(self.rings, bases, strict=True):
            await self.front_end.set_up_ring(ring, base=base)

    async def ask(self, command: Command, body: bytes, *, queue: int = CONTROLQ) -> int:
        """Send a command; return the type of its answer."""
        ring, ram = self.rings[queue], self.front_end.ram
        request = spec.CTRL_HDR.pack(command, 0, 0, 0, 0) + body
        address, answer = ram.allocate(len(request)), ram.allocate(spec.CTRL_HDR.size)
        ram.memory.write(address, request)
        ring.queue.add([(address, len(request))], [(answer, spec.CTRL_HDR.size)])
        ring.notify()
        await ring.wait()
        kind: int = spec.CTRL_HDR.unpack(ram.memory.read(answer, spec.CTRL_HDR.size))[0]
        return kind

    async def show(self) -> list[int]:
        """Show a picture; return what its commands were answered with."""
        address = self.front_end.ram.allocate(len(DRAWN))
        self.front_end.ram.memory.write(address, DRAWN)
        entry = spec.MEM_ENTRY.pack(address, len(DRAWN))
        pixels = Format.VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM
        commands = {
            Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D: spec.RESOURCE_CREATE_2D.pack(
                1, pixels, SIDE, SIDE
            ),
            Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING: spec.RESOURCE_ATTACH_BACKING.pack(1, 1)
            + entry,
            Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D: spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, 1),
            Command.VIRTIO_GPU_CMD_SET_SCANOUT: spec.SET_SCANOUT.pack(*WHOLE, 0, 1),
        }
        return [await self.ask(command, body) for command, body in commands.items()]

    async def move_cursor(self) -> int:
        """Move the cursor."""
        body = spec.UPDATE_CURSOR.pack(0, 1, 2, 0, 0, 0)
        return await self.ask(Command.VIRTIO_GPU_CMD_MOVE_CURSOR, body, queue=CURSORQ)

    def picture(self) -> bytes | None:
        """Return what is shown."""
        picture = self.model.scanouts[0].picture
        return None if picture is None else picture.read(WHOLE)


@pytest.fixture(params=list(PROTOCOLS.values()), ids=list(PROTOCOLS.keys()))
def protocol(request: pytest.FixtureRequest) -> ProtocolFeature:
    """Give the protocol features that the front end takes."""
    taken: ProtocolFeature = request.param
    return taken


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS.keys()))
async def gpu(
    request: pytest.FixtureRequest, protocol: ProtocolFeature, tmp_path: Path
) -> AsyncIterator[Gpu]:
    """Serve a GPU that shows a picture."""
    model = GpuModel("gpu0", GpuOptions(mode=Mode(SIDE, SIDE)))
    path = tmp_path / "vhost.sock"
    listen = [f"unix:{tmp_path / 'device.sock'}"]
    host = Host(VirtioMmio(model), Addresses(listen, tmp_path / "hand.sock", vhost_user=path), KIND)
    await host.start()
    front_end = await VhostFrontEnd.connect(path)
    await front_end.negotiate(without=request.param, protocol=protocol)
    await front_end.share()
    gpu = Gpu(model, front_end)
    await gpu.start()
    assert set(await gpu.show()) == {Response.VIRTIO_GPU_RESP_OK_NODATA}
    yield gpu
    front_end.close()
    await host.stop()


async def test_a_paused_guest_keeps_its_picture(gpu: Gpu) -> None:
    """And its resources, wherever its rings stopped, however often; both rings go on."""
    flush = spec.RESOURCE_FLUSH.pack(*WHOLE, 1)
    for _ in range(2 * SIZE + 1):
        bases = await gpu.stop()
        assert gpu.picture() == DRAWN
        await gpu.go_on(bases)
        assert gpu.picture() == DRAWN
        assert await gpu.ask(Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH, flush) == (
            Response.VIRTIO_GPU_RESP_OK_NODATA
        )
        assert await gpu.move_cursor() == Response.VIRTIO_GPU_RESP_OK_NODATA


async def test_a_guest_that_begins_anew_finds_nothing(gpu: Gpu) -> None:
    """A reboot: the features are the same, and its rings are new."""
    for _ in range(3):
        await gpu.stop()
        await gpu.agree()
        await gpu.start()
        assert gpu.picture() is None
        assert len(gpu.model.resources) == 0
        assert set(await gpu.show()) == {Response.VIRTIO_GPU_RESP_OK_NODATA}
        assert gpu.picture() == DRAWN


async def other_features(gpu: Gpu) -> None:
    """Agree on others."""
    await gpu.agree(int(spec.GpuFeature.VIRTIO_GPU_F_EDID))


async def reset(gpu: Gpu) -> None:
    """Reset the device."""
    await gpu.front_end.tell(Request.RESET_DEVICE)


async def configure(gpu: Gpu) -> None:
    """Write the configuration, as a driver does that begins."""
    await gpu.front_end.tell(Request.SET_CONFIG, vu.Config(4, 0, bytes(4)))


@pytest.mark.parametrize("sign", [other_features, reset, configure])
async def test_signs_of_another_driver(gpu: Gpu, sign: Callable[[Gpu], Awaitable[None]]) -> None:
    """They reset a stopped device at once."""
    await gpu.stop()
    await sign(gpu)
    assert gpu.picture() is None
    assert len(gpu.model.resources) == 0


async def test_a_broken_device_is_reset(gpu: Gpu) -> None:
    """The guest resets it: it does not go on where it was."""
    bases = await gpu.stop()
    gpu.model.interrupt.set_fault("a test")
    await gpu.go_on(bases)
    assert gpu.model.interrupt.fault is None
    assert gpu.picture() is None
