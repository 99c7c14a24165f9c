"""Drivers that break a rule, and devices that have the quirk for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs
from virtmesh_native import Recorder

from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.host.metrics import device_metrics
from virtmesh.mmio.device import Attachment
from virtmesh.mmio.quirks import Quirk, find_quirks
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.testing.scripted_driver import (
    LIVE,
    NEGOTIATED,
    BlkRequest,
    LocalRegisters,
    ScriptedDriver,
)
from virtmesh.virtio.device import VIRTIO_VENDOR_ID
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.quirks import (
    NO_VERSION_1,
    QEMU_VENDOR_ID,
    QUIRKS,
    SINGLE_STATUS_BITS,
    WIDE_CONFIG_ACCESS,
)
from virtmesh_common.blk import spec
from virtmesh_common.errors import BadWidth, DriverViolation
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status


@contextmanager
def driving(*quirks: Quirk) -> Iterator[tuple[VirtioMmio, ScriptedDriver]]:
    """Attach a driver to a disk with quirks."""
    device = VirtioMmio(ScriptedDisk(), quirks)
    device.interrupt.recorder = Recorder(64)
    doorbells = AttachmentEventfds.make(1)
    with Ram(1 << 20) as ram:
        device.attach(Attachment("test", ram.guest_memory, doorbells.queues))
        yield device, ScriptedDriver(LocalRegisters(device), ram, doorbells)
        device.begin_reset()
        device.detach()
    doorbells.close()


def notes(device: VirtioMmio) -> list[str]:
    """Return the texts of the trace."""
    *_, texts = device.interrupt.recorder.read(0, 64)
    return [text for _, text in texts]


async def test_a_driver_without_version_1_is_refused_by_default() -> None:
    """A device MAY fail to operate further (6.1)."""
    with driving() as (_, driver):
        await driver.reset()
        assert not await driver.negotiate(0) & Status.FEATURES_OK


async def test_a_driver_without_version_1_is_served() -> None:
    """As xv6 is by QEMU: its rings and requests are the same. Each use is named."""
    with driving(NO_VERSION_1) as (device, driver), capture_logs() as lines:
        for _ in range(2):
            await driver.reset()
            assert await driver.negotiate(0) == NEGOTIATED
        await driver.set_up_queue(0)
        await driver.go()
        assert (await driver.request(BlkRequest.read(0, 512)))[0] == 0
        assert device.quirks.uses == {"tolerate_no_version_1": 2}
        named = [note for note in notes(device) if note.startswith("tolerate_no_version_1: ")]
        assert len(named) == 2
        (line,) = (one for one in lines if "quirk" in one)
        assert (line["quirk"], "6.1" in line["rule"]) == ("tolerate_no_version_1", True)
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in device_metrics(device)
            for sample in metric.samples
        }
        assert samples["virtmesh_virtio_quirk_uses_total", "tolerate_no_version_1"] == 2


async def test_other_missing_features_are_still_refused() -> None:
    """A quirk sets aside one rule."""
    with driving(NO_VERSION_1) as (_, driver):
        await driver.reset()
        assert not await driver.negotiate(1 << 60) & Status.FEATURES_OK


async def test_bits_of_status_come_one_by_one() -> None:
    """1, 2, 8, 4: each write without the bits before, as drivers of seL4 do it."""
    with driving(SINGLE_STATUS_BITS) as (device, driver):
        await driver.reset()
        await driver.put(mmio.STATUS, Status.ACKNOWLEDGE)
        await driver.put(mmio.STATUS, Status.DRIVER)
        await driver.put(mmio.DRIVER_FEATURES_SEL, 1)
        await driver.put(mmio.DRIVER_FEATURES, Feature.VIRTIO_F_VERSION_1 >> 32)
        await driver.put(mmio.STATUS, Status.FEATURES_OK)
        assert await driver.get(mmio.STATUS) == NEGOTIATED
        await driver.put(mmio.STATUS, Status.DRIVER_OK)
        assert await driver.get(mmio.STATUS) == LIVE
        assert device.quirks.uses == {"tolerate_single_status_bits": 3}
        await driver.put(mmio.STATUS, 0)
        assert await driver.get(mmio.STATUS) == 0


async def test_without_the_quirk_bits_of_status_stay() -> None:
    """Only a reset clears bits (2.1.1)."""
    with driving(NO_VERSION_1) as (_, driver):
        await driver.reset()
        await driver.put(mmio.STATUS, Status.ACKNOWLEDGE)
        with pytest.raises(DriverViolation):
            await driver.put(mmio.STATUS, Status.DRIVER)


async def test_a_field_of_64_bits_is_read_at_once() -> None:
    """`capacity`, by a pointer to 64 bits."""
    offset = spec.CAPACITY.offset
    with driving() as (plain, _), pytest.raises(BadWidth):
        plain.read(offset, 8)
    with driving(WIDE_CONFIG_ACCESS) as (device, _):
        halves = device.read(offset, 4) | device.read(offset + 4, 4) << 32
        assert device.read(offset, 8) == halves != 0
        assert device.quirks.uses == {"tolerate_wide_config_access": 1}
        with pytest.raises(BadWidth):
            device.read(mmio.STATUS.offset, 8)


async def test_a_device_may_look_as_if_it_were_of_qemu() -> None:
    """For kernels that look for QEMU's vendor."""
    with driving() as (plain, _):
        assert plain.read(mmio.VENDOR_ID.offset, 4) == VIRTIO_VENDOR_ID
    with driving(QEMU_VENDOR_ID) as (device, _):
        assert device.read(mmio.VENDOR_ID.offset, 4) == 0x554D4551


def test_quirks_are_found_by_name() -> None:
    """The error of one that is none has the list, or the one that was meant."""
    assert find_quirks(["qemu_vendor_id"] * 2, QUIRKS) == (QEMU_VENDOR_ID,)
    with pytest.raises(ValueError, match="did you mean tolerate_no_version_1"):
        find_quirks(["tolerate_version_1"], QUIRKS)
    with pytest.raises(ValueError, match=r"it knows tolerate_no_version_1, .*, qemu_vendor_id"):
        find_quirks(["x"], QUIRKS)
    with pytest.raises(ValueError, match="it knows none"):
        find_quirks(["x"], ())
