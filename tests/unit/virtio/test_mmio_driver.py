"""The driver's side of virtio-mmio: probing, initialisation in order, configuration, resets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from virtmesh.attach.bus import Access
from virtmesh.attach.guest_ram import Ram
from virtmesh.machine import DoorbellKind
from virtmesh.testing.local_bus import LocalBus
from virtmesh.testing.scripted_disk import FEATURES, ScriptedDisk
from virtmesh.virtio import mmio_driver as header
from virtmesh.virtio.layout import QueueLayout
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.mmio_driver import VirtIOHeader
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import (
    DeviceNeedsReset,
    DriverError,
    FeaturesRejected,
    NotVirtio,
    QueueUnusable,
)
from virtmesh_common.registers import Register
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

V1 = Feature.VIRTIO_F_VERSION_1


class LyingBus(LocalBus):
    """A bus to a device that answers some reads with something else, one after the other."""

    def __init__(self, device: VirtioMmio, ram: Ram) -> None:
        super().__init__(device, ram, DoorbellKind.MMIO)
        self.lies: dict[int, list[int]] = {}

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Answer with the lies, while there are any."""
        values = await super().access(batch)
        return [
            self.lies[one.offset].pop(0)
            if one.value is None and self.lies.get(one.offset)
            else value
            for one, value in zip(batch, values, strict=True)
        ]


@dataclass
class Scene:
    """A header on a scripted disk."""

    model: ScriptedDisk
    bus: LyingBus
    header: VirtIOHeader = field(init=False)

    def __post_init__(self) -> None:
        self.header = VirtIOHeader(self.bus)

    def lie(self, register: Register, *values: int) -> None:
        """Have reads of a register answered with these values first."""
        self.bus.lies[register.offset] = list(values)

    def written(self, register: Register) -> list[int | None]:
        """Return what was written to a register, in order."""
        return [one.value for one in self.bus.trace if one.offset == register.offset]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """Attach to a scripted disk."""
    model = ScriptedDisk(features=FEATURES | Feature.VIRTIO_F_RING_RESET)
    with Ram(1 << 20) as ram:
        bus = LyingBus(VirtioMmio(model), ram)
        yield Scene(model, bus)
        await bus.close()


async def test_probe_says_which_device_is_there(scene: Scene) -> None:
    """DeviceID and VendorID are read behind magic and version."""
    identity = await scene.header.probe()

    assert identity.device_id == blk.VIRTIO_ID_BLOCK


@pytest.mark.parametrize(
    ("register", "value", "why"),
    [
        (mmio.MAGIC_VALUE, 0, "MagicValue is 0x0"),
        (mmio.VERSION, 1, "Version is 1"),
        (mmio.DEVICE_ID, 0, "there is no device in this slot"),
    ],
)
async def test_probe_refuses_what_is_no_device(
    scene: Scene, register: Register, value: int, why: str
) -> None:
    """The error says which register is wrong (4.2.3.1.1)."""
    scene.lie(register, value)

    with pytest.raises(NotVirtio, match=why):
        await scene.header.probe()


async def test_initialisation_follows_the_order_of_the_text(scene: Scene) -> None:
    """Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK: one bit at a time (3.1.1)."""
    await scene.header.negotiate(FEATURES, V1, BlkFeature)
    await scene.header.go_live()

    progress = [Status.ACKNOWLEDGE, Status.DRIVER, Status.FEATURES_OK, Status.DRIVER_OK]
    writes = [one.value for one in scene.bus.trace if one.offset == mmio.STATUS.offset]
    steps = [value for index, value in enumerate(writes) if value not in writes[:index]]
    assert steps == [0, *(sum(progress[: count + 1]) for count in range(4))]


async def test_only_offered_features_are_accepted(scene: Scene) -> None:
    """What is wanted and not offered is left out."""
    features = await scene.header.negotiate(
        V1 | BlkFeature.VIRTIO_BLK_F_FLUSH | BlkFeature.VIRTIO_BLK_F_MQ, V1, BlkFeature
    )

    assert features == V1 | BlkFeature.VIRTIO_BLK_F_FLUSH
    assert scene.header.has(BlkFeature.VIRTIO_BLK_F_FLUSH)
    assert not scene.header.has(BlkFeature.VIRTIO_BLK_F_MQ)


async def test_missing_required_feature_is_named(scene: Scene) -> None:
    """Negotiation stops before FEATURES_OK, and the error names what is missing."""
    with pytest.raises(FeaturesRejected, match="VIRTIO_BLK_F_MQ"):
        await scene.header.negotiate(0, V1 | BlkFeature.VIRTIO_BLK_F_MQ, BlkFeature)


async def test_refused_choice_is_named(scene: Scene) -> None:
    """FEATURES_OK that does not stay set means no (3.1.1, step 6)."""
    with pytest.raises(FeaturesRejected, match=r"refuses these features.*VIRTIO_BLK_F_FLUSH"):
        await scene.header.negotiate(BlkFeature.VIRTIO_BLK_F_FLUSH, 0, BlkFeature)


async def test_reset_is_waited_for(scene: Scene) -> None:
    """Status is read until it is 0 (2.4.2)."""
    scene.lie(mmio.STATUS, 15, 15, 0)

    await scene.header.reset()

    assert scene.bus.lies[mmio.STATUS.offset] == []


async def test_reset_that_never_ends_is_an_error(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver does not wait for ever."""
    monkeypatch.setattr(header, "RESET_TIMEOUT_S", 0.02)
    scene.lie(mmio.STATUS, *([15] * 1000))

    with pytest.raises(DriverError, match="the reset of vda is not done"):
        await scene.header.reset()


async def test_torn_configuration_is_read_again(scene: Scene) -> None:
    """A generation that moved in between voids what was read (2.5.1)."""
    scene.lie(mmio.CONFIG_GENERATION, 1, 2, 3, 3)
    scene.lie(blk.CAPACITY, 0xDEAD)

    config = await scene.header.read_config([blk.CAPACITY, blk.SEG_MAX])

    assert config == {blk.CAPACITY: 256, blk.SEG_MAX: 30}


async def test_wide_fields_are_read_in_halves(scene: Scene) -> None:
    """A 64-bit field is two 32-bit accesses, low half first (4.2.2.2)."""
    scene.model.resize(5)
    scene.model._fields[blk.CAPACITY] = 0x1_0000_0002

    config = await scene.header.read_config([blk.CAPACITY])

    assert config[blk.CAPACITY] == 0x1_0000_0002


async def test_configuration_that_never_rests_is_an_error(scene: Scene) -> None:
    """A device that keeps moving its generation does not hold the driver up for ever."""
    scene.lie(mmio.CONFIG_GENERATION, *range(1000))

    with pytest.raises(DriverError, match="changed during each of 64 reads"):
        await scene.header.read_config([blk.CAPACITY])


async def test_queue_is_set_up_and_reset(scene: Scene) -> None:
    """A queue that is ready can't be set up again; one that was reset can (2.6.1)."""
    await scene.header.negotiate(V1 | Feature.VIRTIO_F_RING_RESET, V1, BlkFeature)
    layout = QueueLayout.place(scene.bus.ram.address, 8)

    assert await scene.header.queue_size_max(0) == 64
    assert await scene.header.queue_size_max(1) == 0
    await scene.header.set_up_queue(0, layout)
    await scene.header.go_live()
    with pytest.raises(QueueUnusable, match="in use already"):
        await scene.header.set_up_queue(0, layout)
    await scene.header.reset_queue(0)
    await scene.header.set_up_queue(0, layout)


async def test_queue_reset_needs_its_feature(scene: Scene) -> None:
    """Without VIRTIO_F_RING_RESET the register must not be touched."""
    await scene.header.negotiate(V1, V1, BlkFeature)

    with pytest.raises(DriverError, match="VIRTIO_F_RING_RESET"):
        await scene.header.reset_queue(0)


async def test_device_that_needs_a_reset_does_not_go_live(scene: Scene) -> None:
    """DEVICE_NEEDS_RESET is seen right behind DRIVER_OK."""
    await scene.header.negotiate(V1, V1, BlkFeature)
    scene.model.interrupt.set_fault("broken")

    with pytest.raises(DeviceNeedsReset):
        await scene.header.go_live()
