"""Restoring a device: what is written, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from tests.support.holding_device import HoldingModel, describe
from virtmesh.attach.bus import Access
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.restore import (
    Fingerprint,
    SavedWrite,
    config_fields,
    read_config,
    read_fingerprint,
    restore,
    run,
)
from virtmesh.host.batch import BatchExecutor
from virtmesh.testing.local_bus import LocalBus
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.blk import spec as blk
from virtmesh_common.errors import NotRestorable
from virtmesh_common.gpu import spec as gpu
from virtmesh_common.registers import Register
from virtmesh_common.virtio.features import TRANSPORT_FEATURES, Feature
from virtmesh_common.virtio.mmio import (
    CONFIG_GENERATION,
    DEVICE_FEATURES_SEL,
    DRIVER_FEATURES,
    DRIVER_FEATURES_SEL,
    QUEUE_DESC_LOW,
    QUEUE_DEVICE_LOW,
    QUEUE_DRIVER_LOW,
    QUEUE_READY,
    QUEUE_RESET,
    QUEUE_SEL,
    QUEUE_SIZE,
    QUEUE_SIZE_MAX,
    STATUS,
)

RAM = 1 << 20
CONFIG = config_fields(blk.CONFIG)
FEATURES = int(Feature.VIRTIO_F_VERSION_1 | Feature.VIRTIO_F_RING_RESET)


def write(register: Register, value: int) -> SavedWrite:
    """Make a write."""
    return register.offset, register.size, value


def live(ram: Ram, *, features: int = FEATURES) -> list[SavedWrite]:
    """Return the writes that set queue 0 up, and make a device live."""
    return [
        write(STATUS, 1),
        write(STATUS, 3),
        write(DRIVER_FEATURES_SEL, 0),
        write(DRIVER_FEATURES, features & 0xFFFF_FFFF),
        write(DRIVER_FEATURES_SEL, 1),
        write(DRIVER_FEATURES, features >> 32),
        write(STATUS, 11),
        write(QUEUE_SEL, 0),
        write(QUEUE_SIZE, 8),
        write(QUEUE_DESC_LOW, ram.address),
        write(QUEUE_DRIVER_LOW, ram.address + 4096),
        write(QUEUE_DEVICE_LOW, ram.address + 8192),
        write(QUEUE_READY, 1),
        write(STATUS, 15),
    ]


class Device:
    """A device in this process, with the configuration space of a disk."""

    def __init__(self, ram: Ram, *, features: int = TRANSPORT_FEATURES) -> None:
        self.model = HoldingModel(blk.CONFIG, features)
        self.device = VirtioMmio(self.model)
        self.about = describe(self.device)
        self.bus = LocalBus(self.device, ram)

    async def fingerprint(self) -> Fingerprint:
        """Read what it is."""
        return await run(self.bus.access, read_fingerprint(self.about, CONFIG))

    async def restore(self, writes: Sequence[SavedWrite], before: Fingerprint) -> None:
        """Restore it."""
        await run(self.bus.access, restore(writes, before, self.about, CONFIG))


@pytest.fixture
async def ram() -> AsyncIterator[Ram]:
    """Make RAM."""
    with Ram(RAM) as ram:
        yield ram


@pytest.fixture
async def device(ram: Ram) -> AsyncIterator[Device]:
    """Make a device."""
    device = Device(ram)
    yield device
    await device.bus.close()


async def test_a_fingerprint_has_what_a_driver_relies_on(device: Device) -> None:
    """IDs, features, queue sizes, and what only the device changes in its configuration."""
    registers = (await device.fingerprint()).registers
    assert registers["DeviceID"] == 42
    assert registers["offered features"] == TRANSPORT_FEATURES
    assert registers["QueueSizeMax of queue 1"] == 8
    assert registers["capacity"] == 0
    assert "writeback" not in registers


async def test_a_device_becomes_live(device: Device, ram: Ram) -> None:
    """All writes are made, in order, and the selectors are as they were left."""
    await device.restore(live(ram), await device.fingerprint())
    assert device.device.read(STATUS.offset, 4) == 15
    assert device.device.read(QUEUE_READY.offset, 4) == 1
    assert device.device.read(QUEUE_SIZE_MAX.offset, 4) == 16


async def test_the_configuration_comes_before_the_device_is_live(ram: Ram) -> None:
    """Requests that are taken again find the cache mode that their driver chose."""
    about = device_pb2.DescribeResponse(name="vda", virtio_device_id=2)
    seen: list[Access] = []

    async def access(batch: Sequence[Access]) -> list[int]:
        seen.extend(batch)
        return [15 if one.offset == STATUS.offset else 0 for one in batch]

    before = await run(access, read_fingerprint(about, ()))
    mode = write(blk.WRITEBACK, 0)
    await run(access, restore([*live(ram), mode, write(QUEUE_SEL, 1)], before, about, ()))
    last = [one for one in seen if one.value is not None][-3:]
    assert last == [Access(*mode), Access(*write(STATUS, 15)), Access(*write(QUEUE_SEL, 1))]


async def test_other_features_are_named(device: Device, ram: Ram) -> None:
    """Nothing is written then."""
    before = await device.fingerprint()
    await device.bus.close()
    other = Device(ram, features=TRANSPORT_FEATURES & ~int(Feature.VIRTIO_F_RING_PACKED))
    try:
        with pytest.raises(NotRestorable, match="offered features was") as raised:
            await other.restore(live(ram), before)
        assert raised.value.metadata["device"] == "hold"
        assert raised.value.metadata["differences"] in raised.value.message
        assert other.device.read(STATUS.offset, 4) == 0
    finally:
        await other.bus.close()


DIFFERENT = {
    "kind": ({"kind": "disk"}, "kind was holder and is disk"),
    "queues": ({"queue_size_max": [16]}, r"queue sizes was \(16, 8\) and is \(16,\)"),
    "property": ({"properties": {"reg-shift": 2}}, "reg-shift was missing and is 2"),
}


@pytest.mark.parametrize(("fields", "words"), DIFFERENT.values(), ids=DIFFERENT.keys())
async def test_another_description_is_another_device(
    device: Device, ram: Ram, fields: dict[str, object], words: str
) -> None:
    """Also of a device without registers of virtio."""
    before = await device.fingerprint()
    changed = device_pb2.DescribeResponse(**fields)  # type: ignore[arg-type]  # a table of them
    for name in fields:
        device.about.ClearField(name)  # type: ignore[arg-type]
    device.about.MergeFrom(changed)
    with pytest.raises(NotRestorable, match=words):
        await device.restore(live(ram), before)


async def test_a_change_that_was_told_is_no_difference(device: Device, ram: Ram) -> None:
    """Who learns of a configuration change reads the configuration again."""
    old = await device.fingerprint()
    before = Fingerprint(old.description, {**old.registers, "capacity": 7})
    fields = await run(device.bus.access, read_config(CONFIG))
    with pytest.raises(NotRestorable, match="capacity was 7 and is 0"):
        await device.restore(live(ram), before)
    await device.restore(live(ram), before.with_registers(fields))


async def test_a_refused_write_is_named(device: Device, ram: Ram) -> None:
    """The message is the device's own."""
    writes = [*live(ram)[:-1], write(QUEUE_SIZE, 4), write(STATUS, 15)]
    with pytest.raises(NotRestorable, match="hold refused a write: QueueSize: queue 0 is in use"):
        await device.restore(writes, await device.fingerprint())


async def test_a_status_that_is_another_is_named(device: Device, ram: Ram) -> None:
    """Features that the device does not take leave FEATURES_OK unset."""
    writes = live(ram, features=0)[:7]
    with pytest.raises(NotRestorable, match=r"Status is .*, not .*FEATURES_OK"):
        await device.restore(writes, await device.fingerprint())


@pytest.mark.parametrize("bad", [write(STATUS, 0), write(QUEUE_RESET, 1)])
async def test_a_reset_restores_nothing(device: Device, ram: Ram, bad: SavedWrite) -> None:
    """It would clear the log of what is in flight."""
    before = await device.fingerprint()
    with pytest.raises(ValueError, match="resets what is to be restored"):
        await device.restore([*live(ram), bad], before)


async def test_any_way_to_the_registers_will_do(ram: Ram) -> None:
    """Such as a register channel of a CPU; what it refuses is named."""
    model = HoldingModel()
    device = VirtioMmio(model)
    about = describe(device)
    executor = BatchExecutor(device)

    async def access(batch: Sequence[Access]) -> list[int]:
        done = executor.execute(
            [one.offset for one in batch],
            [one.width | 0x80 * (one.value is not None) for one in batch],
            [one.value or 0 for one in batch],
        )
        if done.error is not None:
            raise done.error
        return done.values

    before = await run(access, read_fingerprint(about, ()))
    await run(access, restore(live(ram)[:7], before, about, ()))
    assert device.read(STATUS.offset, 4) == 11
    with pytest.raises(NotRestorable, match=r"refused a write: .*attach first"):
        await run(access, restore(live(ram)[7:], before, about, ()))


async def test_a_serial_port_is_written_as_it_was() -> None:
    """It has no selectors, no logs and no Status: the description is its fingerprint."""
    about = device_pb2.DescribeResponse(name="ttyS0", kind="uart", compatible="ns16550a")
    seen: list[Access] = []

    async def access(batch: Sequence[Access]) -> list[int]:
        seen.extend(batch)
        return [0] * len(batch)

    before = await run(access, read_fingerprint(about, ()))
    await run(access, restore([(3, 1, 0x83), (0, 1, 1), (3, 1, 3)], before, about, ()))
    assert seen == [Access(3, 1, 0x83), Access(0, 1, 1), Access(3, 1, 3)]


async def test_a_configuration_that_never_rests_is_refused() -> None:
    """Reading it ends after some attempts."""
    generations = iter(range(1 << 20))

    async def access(batch: Sequence[Access]) -> list[int]:
        return [next(generations) if one.offset == CONFIG_GENERATION.offset else 0 for one in batch]

    with pytest.raises(NotRestorable, match="changed during each"):
        await run(access, read_config(CONFIG))


async def test_many_writes_go_in_several_batches(device: Device, ram: Ram) -> None:
    """No batch is longer than any way to the registers takes."""
    writes = [*[write(DEVICE_FEATURES_SEL, 0)] * 10_000, *live(ram)]
    await device.restore(writes, await device.fingerprint())
    assert device.device.read(STATUS.offset, 4) == 15


def test_what_comes_and_goes_is_not_compared() -> None:
    """Pending events of a GPU: a new process has none, and is the same device."""
    assert [one.name for one in config_fields(gpu.CONFIG)] == ["num_scanouts", "num_capsets"]
