"""Device processes that are killed with requests in flight, and whose guests do not notice."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.guest_side import Guest, GuestRing
from tests.support.killable_service import KillableService
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.load import SLOTS, Load
from virtmesh.attach.bus import Access, Bus
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.restore import read_fingerprint, restore, run
from virtmesh.machine import DoorbellKind
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.api.input.v1 import input_pb2, input_pb2_grpc
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import NotRestorable
from virtmesh_common.gpu import spec as gpu
from virtmesh_common.input import spec as virtio_input
from virtmesh_common.input.spec import EVENT, EVENTQ
from virtmesh_common.virtio.features import Feature

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

KILLS = 8
COMPLETIONS = 200
"""Most requests between two kills."""
KINDS = {
    "split": int(Feature.VIRTIO_F_RING_PACKED),
    "split, direct": int(Feature.VIRTIO_F_RING_PACKED | Feature.VIRTIO_F_INDIRECT_DESC),
    "packed": 0,
    "packed, direct": int(Feature.VIRTIO_F_INDIRECT_DESC),
}
"""Kinds of rings, by the features that are not agreed on."""
CONFIG = {"blk": blk.CONFIG, "gpu": gpu.CONFIG, "input": virtio_input.CONFIG}
DISK = ("blk", "--name", "vda", "--image", "disk.img", "--size", "1M")


class Machine:
    """A service, and a guest of it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.service = KillableService(folder, *arguments)
        self.made: Guest | None = None

    @property
    def guest(self) -> Guest:
        """The guest, once the service was started for it."""
        assert self.made is not None
        return self.made

    async def connect(self) -> Bus:
        """Attach to the process that runs, with the memory and the logs of the guest."""
        return await GrpcBus.connect(
            self.service.address,
            ram=self.guest.ram,
            driver_name="guest",
            doorbell=DoorbellKind.EVENTFD,
            inflight_logs=self.guest.logs,
        )

    async def describe(self) -> device_pb2.DescribeResponse:
        """Say what the device is."""
        async with open_channel(self.service.address) as channel:
            stub: device_pb2_grpc.DeviceServiceAsyncStub = device_pb2_grpc.DeviceServiceStub(
                channel
            )
            return await stub.Describe(device_pb2.DescribeRequest())

    async def start(self) -> None:
        """Start the service, and attach the guest."""
        await self.service.start()
        self.made = Guest(await self.describe(), CONFIG[self.service.arguments[0]])
        await self.guest.attach(await self.connect())

    async def start_again(self) -> None:
        """Start the service once more, and restore it for the guest."""
        await self.guest.bus.close()
        await self.service.start()
        await self.guest.restore(await self.connect(), await self.describe())

    async def stop(self) -> None:
        """End all."""
        if self.made is not None:
            await self.made.close()
        await self.service.kill()
        sys.stdout.write(self.service.log)  # shown when the test fails


MakeMachine = Callable[..., Machine]


@pytest.fixture
async def make_machine(tmp_path: Path) -> AsyncIterator[MakeMachine]:
    """Make machines, of which the services end with the test."""
    async with AsyncExitStack() as undo:

        def make(*arguments: str) -> Machine:
            machine = Machine(tmp_path, *arguments)
            undo.push_async_callback(machine.stop)
            return machine

        yield make


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_killed_disk_loses_nothing_and_answers_nothing_twice(
    make_machine: MakeMachine, tmp_path: Path, without: int
) -> None:
    """Reads, writes and flushes in flight complete once each; the image has what was written."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    (ring,) = await machine.guest.bring_up(256, without=without)
    load = Load(VhostDisk(ring, slots=SLOTS), seed=without)
    for _ in range(KILLS):
        await load.run(load.random.randrange(COMPLETIONS))
        await machine.service.kill()
        await machine.start_again()
    await load.drain()
    await machine.service.end()
    assert machine.service.starts == KILLS + 1
    assert load.completed == load.submitted
    load.check_image((tmp_path / "disk.img").read_bytes())


async def test_who_attaches_again_goes_on(make_machine: MakeMachine, tmp_path: Path) -> None:
    """The connection ended, and nobody was killed: the reset of the device is not the guest's."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    (ring,) = await machine.guest.bring_up(64)
    load = Load(VhostDisk(ring, slots=SLOTS), seed=2)
    for _ in range(10):
        await load.run(20)
        await machine.guest.bus.close()
        await machine.guest.restore(await machine.connect())
    await load.drain()
    assert load.completed == load.submitted
    await machine.service.end()
    load.check_image((tmp_path / "disk.img").read_bytes())


async def test_a_connection_that_ends_without_detach_keeps_the_log(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    """As one that a driver with a time limit hangs up, or that a device hangs up itself."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    (ring,) = await machine.guest.bring_up(64)
    load = Load(VhostDisk(ring, slots=SLOTS), seed=5)
    for _ in range(10):
        await load.run(20)
        under: Any = machine.guest.bus.under
        under._registers._connection.shutdown(socket.SHUT_RDWR)
        await under.lost
        await machine.guest.bus.close()
        await machine.guest.restore(await machine.connect())
    await load.drain()
    assert load.completed == load.submitted
    await machine.service.end()
    load.check_image((tmp_path / "disk.img").read_bytes())


async def test_a_service_may_be_killed_while_it_is_restored(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    """After any of the writes; the next process is restored as if that one had never been."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    (ring,) = await machine.guest.bring_up(64)
    load = Load(VhostDisk(ring, slots=SLOTS), seed=3)
    await load.run(20)
    writes = list(machine.guest.bus.writes)
    for count in range(1, len(writes) + 1, 3):
        await machine.service.kill()
        await machine.guest.bus.close()
        await machine.service.start()
        bus = await machine.connect()
        await bus.access([Access(*one) for one in writes[:count]])
        await bus.close()
    await machine.service.kill()
    await machine.start_again()
    await load.run(20)
    await load.drain()
    assert load.completed == load.submitted
    await machine.service.end()
    load.check_image((tmp_path / "disk.img").read_bytes())


async def test_a_guest_with_a_spoilt_log_can_begin_anew(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    """The disk asks for a reset and says why; a reset clears the log."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    (ring,) = await machine.guest.bring_up(64)
    disk = VhostDisk(ring)
    assert await disk.write(0, b"x" * SECTOR) is RequestStatus.VIRTIO_BLK_S_OK
    await machine.service.kill()
    os.pwrite(machine.guest.logs, b"\xff" * 4096, 0)
    with pytest.raises(NotRestorable, match="DEVICE_NEEDS_RESET"):
        await machine.start_again()
    (ring,) = await machine.guest.bring_up(64)
    assert await VhostDisk(ring).read(0) == b"x" * SECTOR


async def test_a_serial_port_is_set_up_as_before(make_machine: MakeMachine) -> None:
    """Divisor, frame, interrupts and scratch: it has no queues and no log."""
    machine = make_machine("uart", "--name", "serial0")
    await machine.service.start()
    about = await machine.describe()
    writes = [(3, 1, 0x83), (0, 1, 3), (1, 1, 0), (3, 1, 0x1B), (1, 1, 5), (4, 1, 0xB), (7, 1, 90)]
    with Ram(1 << 20) as ram:
        connect = partial(
            GrpcBus.connect,
            machine.service.address,
            ram=ram,
            driver_name="guest",
            doorbell=DoorbellKind.EVENTFD,
        )
        bus = await connect()
        before = await run(bus.access, read_fingerprint(about, ()))
        await bus.close()
        await machine.service.kill()
        await machine.service.start()
        bus = await connect()
        await run(bus.access, restore(writes, before, await machine.describe(), ()))
        read = await bus.access([Access(offset, 1) for offset in (3, 1, 4, 7)])
        await bus.close()
    assert read == [0x1B, 5, 0xB, 90]


async def test_what_a_stopped_service_left_is_done_by_the_next(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    """SIGTERM resets the device, but not for the guest: its requests are in the log."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    (ring,) = await machine.guest.bring_up(64)
    load = Load(VhostDisk(ring, slots=SLOTS), seed=1)
    for _ in range(3):
        await load.run(20)
        await machine.service.end()
        await machine.start_again()
    await load.drain()
    assert load.completed == load.submitted


async def test_a_guest_that_reboots_begins_clean(make_machine: MakeMachine, tmp_path: Path) -> None:
    """A reset of the driver clears the log, so a queue elsewhere does not find old requests."""
    machine = make_machine(*DISK[:4], str(tmp_path / "disk.img"), *DISK[5:])
    await machine.start()
    for size in (64, 16, 256):
        (ring,) = await machine.guest.bring_up(size)
        disk = VhostDisk(ring, slots=8)
        for sector in range(8):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, sector, b"old" * 100 + bytes(212))
        await machine.service.kill()
        await machine.start_again()
        (ring,) = await machine.guest.bring_up(size // 2)
        disk = VhostDisk(ring)
        assert await disk.write(0, b"x" * SECTOR) is RequestStatus.VIRTIO_BLK_S_OK
        assert await disk.read(0) == b"x" * SECTOR
        assert disk.under_way == 0


async def test_another_size_is_another_disk(make_machine: MakeMachine, tmp_path: Path) -> None:
    """The guest knows the capacity, so a disk of another one is not put in its place."""
    image = tmp_path / "disk.img"
    machine = make_machine(*DISK[:4], str(image), *DISK[5:])
    await machine.start()
    await machine.guest.bring_up(64)
    await machine.service.kill()
    with image.open("r+b") as file:
        file.truncate(2 << 20)
    with pytest.raises(NotRestorable, match="capacity was 2048 and is 4096"):
        await machine.start_again()


@pytest.mark.parametrize("without", list(KINDS.values())[::2], ids=list(KINDS)[::2])
async def test_a_killed_keyboard_fills_the_buffers_that_it_held(
    make_machine: MakeMachine, without: int
) -> None:
    """Each buffer comes back once, in the order in which the guest made them available."""
    machine = make_machine("input", "--name", "kbd", "--personality", "keyboard")
    await machine.start()
    events, _ = await machine.guest.bring_up(64, 64, without=without)
    buffers = Buffers(events)
    buffers.post(64)
    for _ in range(4):
        await type_text(machine.service.address, "ab")
        await buffers.wait_for(8)
        await machine.service.kill()
        buffers.post(4)
        await machine.start_again()
        await type_text(machine.service.address, "c")
        await buffers.wait_for(4)
        buffers.post(8)
    assert buffers.used == buffers.posted[: len(buffers.used)]
    assert buffers.keys == [30, 30, 48, 48, 46, 46] * 4


class Buffers:
    """Buffers for events, and what came in them."""

    def __init__(self, ring: GuestRing) -> None:
        assert ring.index == EVENTQ
        self._ring = ring
        self._address = ring.ram.allocate(4096)
        self._places: dict[int, int] = {}
        self.posted: list[int] = []
        """Numbers of the buffers, in the order in which they were made available."""
        self.used: list[int] = []
        self.keys: list[int] = []
        """Codes of the keys pressed and released."""

    def post(self, count: int) -> None:
        """Make so many buffers available, and kick."""
        for _ in range(count):
            number = len(self.posted)
            address = self._address + number % 512 * EVENT.size
            token = self._ring.queue.add([], [(address, EVENT.size)])
            assert token is not None
            assert token not in self._places
            self._places[token] = number
            self.posted.append(number)
        self._ring.notify()

    async def wait_for(self, count: int) -> None:
        """Wait for so many events, and read them."""
        enough = len(self.used) + count
        while len(self.used) < enough:
            for token, written in await self._ring.wait():
                assert written == EVENT.size
                number = self._places.pop(token)
                self.used.append(number)
                address = self._address + number % 512 * EVENT.size
                kind, code, _ = EVENT.unpack(self._ring.ram.memory.read(address, EVENT.size))
                self.keys += [code] * (kind == 1)


async def type_text(address: str, text: str) -> None:
    """Type a text on a keyboard service."""
    async with open_channel(address) as channel:
        stub: input_pb2_grpc.InputServiceAsyncStub = input_pb2_grpc.InputServiceStub(channel)
        await stub.Type(input_pb2.TypeRequest(text=text))
