"""A front end that stops a GPU, and goes on: its guest was paused, or begins anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
        await self.enable(on=False)
        bases = [await self.front_end.stop_ring(ring) for ring in self.rings]
        if ProtocolFeature.STATUS in self.front_end.protocol:
            await self.front_end.tell(Request.SET_STATUS, vu.U64(0))
        return bases

    async def agree(self, without: int = 0) -> None:
        """Send the features once more."""
        features = self.front_end.features & ~without
        await self.front_end.tell(Request.SET_FEATURES, vu.U64(features))

    async def go_on(self, bases: list[int]) -> None:
        """Start the rings where they were stopped: all, then enable them, as QEMU does."""
        await self.agree()
        await self.front_end.share()
        for ring, base in zip(self.rings, bases, strict=True):
            await self.front_end.describe_ring(ring, base=base)
        await self.enable()

    async def enable(self, *, on: bool = True) -> None:
        """Enable the rings, or disable them."""
        for ring in self.rings:
            state = vu.VringState(ring.index, int(on))
            await self.front_end.tell(Request.SET_VRING_ENABLE, state)

    async def renew(self, order: Sequence[int], *, together: bool) -> None:
        """Start new rings, as a driver that begins: one by one, or all before one is enabled."""
        front_end = self.front_end
        await self.agree()
        packed = front_end.features & Feature.VIRTIO_F_RING_PACKED
        base = 1 << 31 | 1 << 15 if packed else 0
        made = {
            index: FrontEndRing.make(index, front_end.ram, SIZE, front_end.features)
            for index in order
        }
        for ring in made.values():
            await front_end.describe_ring(ring, base=base)
            if not together:
                await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(ring.index, 1))
        self.rings = [made[index] for index in sorted(made)]
        front_end.rings += self.rings
        if together:
            await self.enable()

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
    """And its resources, wherever one of its rings stopped, however often; both rings go on."""
    flush = spec.RESOURCE_FLUSH.pack(*WHOLE, 1)
    await gpu.move_cursor()
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


STARTS = {
    "together": ((CONTROLQ, CURSORQ), True),
    "together, the last first": ((CURSORQ, CONTROLQ), True),
    "one by one": ((CONTROLQ, CURSORQ), False),
    "one by one, the last first": ((CURSORQ, CONTROLQ), False),
}
"""In which order rings are started, and whether all are before one is enabled."""
USES = {
    "the cursor queue unused": (1, 0),
    "the control queue came round": (2, 3),
    "both came round": (2, 2 * SIZE),
}
"""Pictures that were shown, and moves of the cursor. A command is one descriptor: packed rings are
at their beginning again after 8, which are 2 pictures of 4 commands."""


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
async def test_another_driver_finds_nothing_whichever_ring_tells_it(
    gpu: Gpu, use: tuple[int, int], start: tuple[Sequence[int], bool]
) -> None:
    """One ring begins where the one before it was stopped: that says nothing."""
    pictures, moves = use
    for _ in range(pictures - 1):
        await gpu.show()
    for _ in range(moves):
        await gpu.move_cursor()
    await gpu.stop()
    order, together = start

    await gpu.renew(order, together=together)

    assert gpu.picture() is None
    assert len(gpu.model.resources) == 0
    assert set(await gpu.show()) == {Response.VIRTIO_GPU_RESP_OK_NODATA}


async def test_another_driver_finds_nothing_through_the_one_ring_that_it_uses(gpu: Gpu) -> None:
    """The driver before did not use it."""
    await gpu.stop()
    await gpu.renew([CURSORQ], together=True)
    assert gpu.picture() is None
    assert len(gpu.model.resources) == 0


async def test_a_paused_guest_keeps_its_picture_if_its_first_ring_came_round(gpu: Gpu) -> None:
    """Its other ring tells it."""
    await gpu.show()
    await gpu.move_cursor()
    await gpu.go_on(await gpu.stop())
    assert gpu.picture() == DRAWN


async def test_a_ring_that_is_not_started_stays_where_it_was(gpu: Gpu) -> None:
    """Between two pauses only the cursor queue runs."""
    await gpu.move_cursor()
    bases = await gpu.stop()
    await gpu.agree()
    await gpu.front_end.describe_ring(gpu.rings[CURSORQ], base=bases[CURSORQ])
    state = vu.VringState(CURSORQ, 1)
    await gpu.front_end.tell(Request.SET_VRING_ENABLE, state)
    assert gpu.picture() == DRAWN
    moved = await gpu.move_cursor()
    assert moved == Response.VIRTIO_GPU_RESP_OK_NODATA
    await gpu.enable(on=False)
    bases[CURSORQ] = await gpu.front_end.stop_ring(gpu.rings[CURSORQ])
    await gpu.go_on(bases)
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
