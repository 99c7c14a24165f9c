"""The buses: what drivers see of a device, near or far, honest or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.driving import StreamBus
from virtmesh.attach.bus import BATCH_LIMIT, Access, Bus, guarding, reading, writing
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.host.host import Addresses, Host
from virtmesh.machine import DoorbellKind
from virtmesh.testing.local_bus import LocalBus
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.register.v1 import register_pb2 as pb
from virtmesh_common.api.register.v1 import register_pb2_grpc
from virtmesh_common.errors import (
    BadStream,
    BadWidth,
    DeviceLost,
    DriverError,
    Misaligned,
    NotReadable,
    RegisterError,
    ServiceUnavailable,
    UnknownRegister,
)
from virtmesh_common.virtio import mmio


class Far:
    """A device service, and a way to attach to it."""

    def __init__(self, folder: Path, ram: Ram) -> None:
        self.model = ScriptedDisk()
        self.address = f"unix:{folder}/vda.sock"
        self.handover = folder / "vda.handover"
        self.host = Host(VirtioMmio(self.model), Addresses([self.address], self.handover))
        self.ram = ram

    async def attach(
        self, doorbell: DoorbellKind = DoorbellKind.EVENTFD, kind: type[GrpcBus] = GrpcBus
    ) -> GrpcBus:
        """Attach."""
        return await kind.connect(self.address, ram=self.ram, driver_name="test", doorbell=doorbell)


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[Far]:
    """Serve a scripted disk."""
    with Ram(1 << 20) as ram:
        far = Far(tmp_path, ram)
        await far.host.start()
        yield far
        await far.host.stop()


@asynccontextmanager
async def attached(far: Far, kind: type[GrpcBus] = GrpcBus) -> AsyncIterator[GrpcBus]:
    """Attach for a while."""
    bus = await far.attach(kind=kind)
    yield bus
    await bus.close()


@pytest.fixture
async def channel_bus(far: Far) -> AsyncIterator[GrpcBus]:
    """Attach through the service, with the register channel."""
    async with attached(far) as bus:
        yield bus


@pytest.fixture
async def stream_bus(far: Far) -> AsyncIterator[GrpcBus]:
    """Attach through the service, with registers by gRPC."""
    async with attached(far, StreamBus) as bus:
        yield bus


@pytest.fixture
async def near_bus() -> AsyncIterator[LocalBus]:
    """Attach in this process."""
    with Ram(1 << 20) as ram:
        bus = LocalBus(VirtioMmio(ScriptedDisk()), ram)
        yield bus
        await bus.close()


@pytest.fixture(params=["near", "stream", "channel"])
def bus(request: pytest.FixtureRequest) -> Bus:
    """Attach in each way."""
    bus: Bus = request.getfixturevalue(f"{request.param}_bus")
    return bus


async def test_a_batch_reads_and_writes_in_order(bus: Bus) -> None:
    """A read behind a write sees it; a write answers 0."""
    values = await bus.access([reading(mmio.STATUS), writing(mmio.STATUS, 1), reading(mmio.STATUS)])

    assert values == [0, 0, 1]


async def test_many_tasks_share_the_bus(bus: Bus) -> None:
    """Each gets the answer to its own question."""

    async def ask(number: int) -> None:
        register = (mmio.MAGIC_VALUE, mmio.VERSION, mmio.DEVICE_ID)[number % 3]
        assert await bus.read(register) == (mmio.MMIO_MAGIC, 2, 2)[number % 3]

    await asyncio.gather(*(ask(number) for number in range(300)))


async def test_a_refused_access_ends_its_batch_only(bus: Bus) -> None:
    """The error says which access it was; those before it took place, and the bus goes on."""
    with pytest.raises(UnknownRegister) as caught:
        await bus.access([writing(mmio.STATUS, 1), Access(0xFF0, 4), writing(mmio.STATUS, 3)])

    assert caught.value.metadata["index"] == "1"
    assert await bus.read(mmio.STATUS) == 1


@pytest.mark.parametrize(
    ("access", "error"),
    [(Access(0x102, 4), Misaligned), (Access(0x050, 4), NotReadable)],
)
async def test_errors_keep_their_class(bus: Bus, access: Access, error: type[Exception]) -> None:
    """What the register file raises arrives as what it is."""
    with pytest.raises(error):
        await bus.access([access])


async def test_a_guard_that_is_met_lets_a_batch_go_on(bus: Bus) -> None:
    """Only the bits of its mask are compared."""
    values = await bus.access(
        [
            writing(mmio.STATUS, 3),
            guarding(mmio.STATUS, 0x1, 0x1),
            guarding(mmio.MAGIC_VALUE, 0xFFFF_FFFF, mmio.MMIO_MAGIC),
            writing(mmio.STATUS, 0),
        ]
    )

    assert values == [0, 3, mmio.MMIO_MAGIC, 0]
    assert await bus.read(mmio.STATUS) == 0


async def test_a_guard_that_is_not_met_ends_its_batch(bus: Bus) -> None:
    """What it read is the last value; nothing behind it is executed, and the bus goes on."""
    values = await bus.access(
        [
            writing(mmio.STATUS, 3),
            guarding(mmio.STATUS, 0x4, 0x4),
            writing(mmio.STATUS, 0),
            reading(mmio.VERSION),
        ]
    )

    assert values == [0, 3]
    assert await bus.read(mmio.STATUS) == 3


@pytest.mark.parametrize(
    ("access", "error"),
    [
        (Access(mmio.MAGIC_VALUE.offset, 8, expect=(0, 0)), BadWidth),
        (Access(mmio.MAGIC_VALUE.offset, 0, expect=(0, 0)), BadWidth),
        (Access(mmio.QUEUE_NOTIFY.offset, 4, expect=(0, 0)), NotReadable),
        (Access(0xFF0, 4, expect=(0, 0)), UnknownRegister),
    ],
)
async def test_guards_that_are_no_reads_are_refused(
    bus: Bus, access: Access, error: type[RegisterError]
) -> None:
    """A guard is a read like any other, of at most 32 bits."""
    with pytest.raises(error) as caught:
        await bus.access([reading(mmio.VERSION), access, writing(mmio.STATUS, 1)])

    assert caught.value.metadata["index"] == "1"
    assert await bus.read(mmio.STATUS) == 0


async def test_batches_have_a_limit(bus: Bus) -> None:
    """A batch that no device takes is not sent."""
    with pytest.raises(ValueError, match="do not fit"):
        await bus.access([reading(mmio.STATUS)] * (BATCH_LIMIT + 1))


async def test_cancelled_callers_do_not_mix_answers_up(bus: Bus) -> None:
    """The answer to a question that nobody waits for is not given to the next."""
    for _ in range(20):
        gone = asyncio.create_task(bus.read(mmio.MAGIC_VALUE))
        await asyncio.sleep(0)
        gone.cancel()
        assert await bus.read(mmio.VERSION) == 2
        await asyncio.gather(gone, return_exceptions=True)


async def test_a_closed_bus_is_lost(bus: Bus) -> None:
    """After close every access raises DeviceLost."""
    await bus.close()

    with pytest.raises(DeviceLost):
        await bus.read(mmio.STATUS)
    assert bus.lost.done()


async def test_a_closed_bus_leaves_a_reset_device(far: Far) -> None:
    """The next driver finds the device as it was at the start."""
    async with attached(far) as bus:
        await bus.write(mmio.STATUS, 1)
    async with attached(far) as bus:
        assert await bus.read(mmio.STATUS) == 0


async def test_nobody_at_the_address_is_said_so(tmp_path: Path) -> None:
    """The error names the address."""
    with Ram(1 << 20) as ram, pytest.raises(ServiceUnavailable, match=r"none\.sock"):
        await GrpcBus.connect(
            f"unix:{tmp_path}/none.sock",
            ram=ram,
            driver_name="test",
            doorbell=DoorbellKind.EVENTFD,
        )


@pytest.mark.parametrize("path", ["/nowhere/x.handover", "no\0path", "x" * 200])
async def test_nobody_at_the_handover_socket_is_said_so(far: Far, path: str) -> None:
    """A path that the tree or the device names may be wrong in any way."""
    with pytest.raises(ServiceUnavailable, match="connect to the handover socket"):
        await GrpcBus.connect(
            far.address,
            ram=far.ram,
            driver_name="test",
            doorbell=DoorbellKind.EVENTFD,
            handover=path,
        )


async def test_a_device_without_handover_is_no_device_to_drive(tmp_path: Path) -> None:
    """The error has the mend."""
    address = f"unix:{tmp_path}/vda.sock"
    host = Host(VirtioMmio(ScriptedDisk()), Addresses([address]))
    await host.start()

    with Ram(1 << 20) as ram, pytest.raises(DriverError, match="--handover PATH"):
        await GrpcBus.connect(address, ram=ram, driver_name="test", doorbell=DoorbellKind.EVENTFD)

    await host.stop()


@pytest.mark.parametrize("kind", [StreamBus, GrpcBus])
@pytest.mark.parametrize("doorbell", list(DoorbellKind))
async def test_a_stopping_device_is_lost_at_once(
    far: Far, doorbell: DoorbellKind, kind: type[GrpcBus]
) -> None:
    """Whatever the doorbell and the way to registers, the end of the service is heard."""
    bus = await far.attach(doorbell, kind)

    await far.host.stop()

    assert isinstance(await bus.lost, DeviceLost)
    await bus.close()


Answer = Callable[[pb.AccessRequest], list[pb.AccessResponse]]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: [pb.AccessResponse()], id="no value"),
        pytest.param(lambda _: [pb.AccessResponse(values=[1, 2])], id="two values"),
        pytest.param(lambda _: [pb.AccessResponse(values=[1 << 32])], id="too wide"),
    ],
)
async def test_answers_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """A device that answers something else than was asked is caught at the first answer."""
    async with hostile(tmp_path, monkeypatch, answer) as bus:
        with pytest.raises(BadStream):
            await bus.read(mmio.STATUS)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([1], id="ends behind a guard that is met"),
        pytest.param([0, 0], id="goes on behind one that is not"),
        pytest.param([0, 0, 0], id="ignores it"),
        pytest.param([1, 0], id="ends behind a read"),
        pytest.param([1, 0, 0, 0], id="too many"),
    ],
)
async def test_answers_that_end_where_no_guard_ends_them_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[int]
) -> None:
    """A batch of a guard and two reads has three values, or one that does not meet the guard."""
    batch = [guarding(mmio.STATUS, 1, 1), reading(mmio.STATUS), reading(mmio.STATUS)]
    async with hostile(tmp_path, monkeypatch, lambda _: [pb.AccessResponse(values=values)]) as bus:
        with pytest.raises(BadStream):
            await bus.access(batch)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: [], id="ends"),
        pytest.param(lambda _: [pb.AccessResponse(values=[1])] * 2, id="answers twice"),
    ],
)
async def test_streams_that_break_lose_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """A stream that ends, or answers what was not asked, is not used any further."""
    async with hostile(tmp_path, monkeypatch, answer) as bus:
        await asyncio.gather(bus.read(mmio.STATUS), return_exceptions=True)

        assert isinstance(await bus.lost, DeviceLost)
        with pytest.raises(DeviceLost):
            await bus.read(mmio.STATUS)


@asynccontextmanager
async def hostile(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> AsyncIterator[GrpcBus]:
    """Attach to a device whose register stream answers as told, and ends where it has nothing."""

    class RegisterAccess(register_pb2_grpc.RegisterServiceServicer):
        def __init__(self, *_: Any) -> None:
            """Take what the true plane takes."""

        def Read(self, request: Any, context: Any) -> Any:
            """Leave out: nobody asks."""

        def Write(self, request: Any, context: Any) -> Any:
            """Leave out: nobody asks."""

        async def Access(self, request_iterator: Any, context: Any) -> Any:
            """Answer."""
            async for request in request_iterator:
                answers = answer(request)
                for one in answers:
                    yield one
                if not answers:
                    return

    monkeypatch.setattr("virtmesh.host.host.RegisterPlane", RegisterAccess)
    with Ram(1 << 20) as ram:
        far = Far(folder, ram)
        await far.host.start()
        async with attached(far, StreamBus) as bus:
            yield bus
        await far.host.stop()
