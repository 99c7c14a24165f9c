"""GPU processes that are killed while a guest makes and shows resources; it does not notice."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.integration.host.test_restart import Machine
from tests.support.guest_side import GuestRing
from virtmesh_common.api.display.v1 import display_pb2, display_pb2_grpc
from virtmesh_common.channel import open_channel
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, Command, Format, Response

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

KILLS = 4
SIDE = 8
SIZE = SIDE * SIDE * 4
WHOLE = (0, 0, SIDE, SIDE)
BATCH = 12
"""Commands that are in flight together."""
ROOM = 128
"""Bytes for a request, and for its answer."""
OK = Response.VIRTIO_GPU_RESP_OK_NODATA


class Commands:
    """Commands of a guest: each is to be answered once, with OK."""

    def __init__(self, ring: GuestRing, queue: int) -> None:
        self._ring, self._queue = ring, queue
        self._slots = [ring.ram.allocate(2 * ROOM) for _ in range(BATCH)]
        self._waiting: dict[int, int] = {}
        self.answered = 0

    def send(self, *commands: tuple[Command, bytes]) -> None:
        """Send commands together."""
        memory = self._ring.ram.memory
        for slot, (command, body) in zip(self._slots, commands, strict=False):
            request = spec.CTRL_HDR.pack(command, 0, 0, 0, 0) + body
            memory.write(slot, request.ljust(2 * ROOM, b"\0"))
            token = self._ring.queue.add(
                [(slot, len(request))], [(slot + ROOM, spec.CTRL_HDR.size)]
            )
            assert token is not None
            self._waiting[token] = slot + ROOM
        self._ring.notify()

    async def answers(self, count: int) -> None:
        """Wait for so many answers in all."""
        while self.answered < count:
            for token, written in await self._ring.wait():
                answer = self._ring.ram.memory.read(self._waiting.pop(token), written)
                assert spec.CTRL_HDR.unpack(answer)[0] == OK
                self.answered += 1


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Serve a GPU, and attach a guest that has brought it up."""
    machine = Machine(tmp_path, "gpu", "--name", "gpu0", "--mode", "64x64")
    await machine.start()
    await machine.guest.bring_up(64, 16)
    yield machine
    await machine.stop()


def pictures(machine: Machine) -> Iterator[tuple[list[tuple[Command, bytes]], bytes]]:
    """Give commands that show one picture after the other, with the pixels of each."""
    ram = machine.guest.rings[CONTROLQ].ram
    pixels = Format.VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM
    address = ram.allocate(2 * SIZE)
    for number in itertools.count(1):
        colour = bytes([number % 256, number // 256, 7, 255])
        place = address + SIZE * (number % 2)
        ram.memory.write(place, colour * (SIDE * SIDE))
        backing = spec.RESOURCE_ATTACH_BACKING.pack(number, 1) + spec.MEM_ENTRY.pack(place, SIZE)
        commands = [
            (
                Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
                spec.RESOURCE_CREATE_2D.pack(number, pixels, SIDE, SIDE),
            ),
            (Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, backing),
            (
                Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
                spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, number),
            ),
            (Command.VIRTIO_GPU_CMD_SET_SCANOUT, spec.SET_SCANOUT.pack(*WHOLE, 0, number)),
            (
                Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH,
                spec.RESOURCE_FLUSH.pack(*WHOLE, number),
            ),
            (Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, spec.RESOURCE_ID.pack(number)),
            (Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, backing),
        ]
        if number > 1:
            before = spec.RESOURCE_ID.pack(number - 1)
            commands.append((Command.VIRTIO_GPU_CMD_RESOURCE_UNREF, before))
        yield commands, colour * (SIDE * SIDE)


async def test_each_command_is_carried_out_once(machine: Machine) -> None:
    """Whenever the process is killed: none is refused as done already, and none is lost."""
    random = Random(3)  # noqa: S311 - any numbers will do
    control = Commands(machine.guest.rings[CONTROLQ], CONTROLQ)
    sent = 0
    for turn, (commands, pixels) in zip(range(5 * KILLS), pictures(machine), strict=False):
        control.send(*commands)
        if turn % 5 == 4:
            await control.answers(sent + random.randrange(len(commands) + 1))
            await machine.service.kill()
            await machine.start_again()
        sent += len(commands)
        await control.answers(sent)
        assert await screenshot(machine) == pixels
    async with open_channel(machine.service.address) as channel:
        stats = await display_pb2_grpc.DisplayServiceStub(channel).GetStats(
            display_pb2.GetStatsRequest()
        )
    assert stats.resources == 1


async def test_a_cursor_stays(machine: Machine) -> None:
    """Where it was moved to last, with its image."""
    image = bytes(range(256)) * 64
    guest = machine.guest
    control = Commands(guest.rings[CONTROLQ], CONTROLQ)
    cursor = Commands(guest.rings[CURSORQ], CURSORQ)
    ram = guest.rings[CONTROLQ].ram
    place = ram.allocate(len(image))
    ram.memory.write(place, image)
    pixels = Format.VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM
    control.send(
        (
            Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
            spec.RESOURCE_CREATE_2D.pack(1, pixels, 64, 64),
        ),
        (
            Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING,
            spec.RESOURCE_ATTACH_BACKING.pack(1, 1) + spec.MEM_ENTRY.pack(place, len(image)),
        ),
        (
            Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
            spec.TRANSFER_TO_HOST_2D.pack(0, 0, 64, 64, 0, 1),
        ),
    )
    await control.answers(3)
    cursor.send(
        (Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, spec.UPDATE_CURSOR.pack(0, 1, 2, 1, 3, 4)),
        (Command.VIRTIO_GPU_CMD_MOVE_CURSOR, spec.UPDATE_CURSOR.pack(0, -5, 6, 0, 0, 0)),
    )
    await cursor.answers(2)
    await machine.service.kill()
    await machine.start_again()
    async with open_channel(machine.service.address) as channel:
        stub = display_pb2_grpc.DisplayServiceStub(channel)
        async for message in stub.Watch(display_pb2.WatchRequest()):
            shown = message.cursor
            if shown.visible:
                break
    assert (shown.x, shown.y, shown.hot_x, shown.hot_y) == (-5, 6, 3, 4)
    assert shown.image == image


async def test_a_reset_forgets_everything(machine: Machine) -> None:
    """A guest that boots finds nothing of the one before, in this process and in the next."""
    control = Commands(machine.guest.rings[CONTROLQ], CONTROLQ)
    commands, _ = next(pictures(machine))
    control.send(*commands)
    await control.answers(len(commands))
    await machine.guest.bring_up(64, 16)
    await machine.service.kill()
    await machine.start_again()
    control = Commands(machine.guest.rings[CONTROLQ], CONTROLQ)
    commands, pixels = next(pictures(machine))
    control.send(*commands)
    await control.answers(len(commands))
    assert await screenshot(machine) == pixels


async def screenshot(machine: Machine) -> bytes:
    """Return the pixels that are shown."""
    async with open_channel(machine.service.address) as channel:
        request = display_pb2.ScreenshotRequest(format=display_pb2.IMAGE_FORMAT_RAW)
        call = display_pb2_grpc.DisplayServiceStub(channel).Screenshot(request)
        return b"".join([piece.data async for piece in call])
