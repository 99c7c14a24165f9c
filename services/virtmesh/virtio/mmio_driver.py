"""The driver side of virtio over MMIO: probing, initialisation, configuration (virtio 1.4, 4.2).

The counterpart of mmio_device.py. A batch of accesses is executed as one piece. A batch that uses a
selector register writes it first, so tasks do not see each other's selections.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.attach.bus import Access, reading, writing
from virtmesh_common.errors import (
    DeviceNeedsReset,
    DriverError,
    FeaturesRejected,
    NotVirtio,
    QueueUnusable,
)
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio.features import Feature, feature_names
from virtmesh_common.virtio.mmio import (
    CONFIG_GENERATION,
    DEVICE_FEATURES,
    DEVICE_FEATURES_SEL,
    DEVICE_ID,
    DRIVER_FEATURES,
    DRIVER_FEATURES_SEL,
    INTERRUPT_ACK,
    MAGIC_VALUE,
    MMIO_MAGIC,
    MMIO_VERSION,
    QUEUE_DESC_HIGH,
    QUEUE_DESC_LOW,
    QUEUE_DEVICE_HIGH,
    QUEUE_DEVICE_LOW,
    QUEUE_DRIVER_HIGH,
    QUEUE_DRIVER_LOW,
    QUEUE_READY,
    QUEUE_RESET,
    QUEUE_SEL,
    QUEUE_SIZE,
    QUEUE_SIZE_MAX,
    STATUS,
    VENDOR_ID,
    VERSION,
)
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from enum import IntFlag

    from virtmesh.attach.bus import Bus
    from virtmesh.virtio.layout import QueueLayout
    from virtmesh_common.registers import Register

FEATURE_WORDS_USED = 2
"""Words of feature bits that drivers use: every known feature is below bit 64."""
RESET_TIMEOUT_S = 10.0
"""Longest wait for a reset: a device finishes the requests being executed first."""
RESET_POLL_S = 0.002
"""Pause between two reads of Status during a reset."""
CONFIG_ATTEMPTS = 64
"""Most reads of a configuration that keeps changing."""


@dataclass(frozen=True)
class Identity:
    """The values of DeviceID and VendorID."""

    device_id: int
    vendor_id: int


class VirtIOHeader:
    """The register window of one virtio device, as its driver uses it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.features = 0
        """Negotiated feature bits; 0 before `negotiate`."""
        self._status = Status(0)

    async def probe(self) -> Identity:
        """Return which device this is (4.2.3.1.1). Errors: NotVirtio; DeviceLost."""
        magic, version, device_id, vendor_id = await self.bus.access(
            [reading(one) for one in (MAGIC_VALUE, VERSION, DEVICE_ID, VENDOR_ID)]
        )
        if magic != MMIO_MAGIC:
            raise NotVirtio(f"MagicValue is {magic:#x}, not {MMIO_MAGIC:#x}")
        if version != MMIO_VERSION:
            raise NotVirtio(f"Version is {version}: only version {MMIO_VERSION} is supported")
        if device_id == 0:
            raise NotVirtio("DeviceID is 0: there is no device in this slot")
        return Identity(device_id, vendor_id)

    async def reset(self) -> None:
        """Reset the device, and wait until it is reset (2.4.2).

        Errors: DriverError when it takes too long; DeviceLost.
        """
        await self.bus.write(STATUS, 0)
        await self._until_zero([reading(STATUS)], "the reset")
        self._status = Status(0)
        self.features = 0

    async def negotiate(self, wanted: int, required: int, family: type[IntFlag]) -> int:
        """Take the device from reset to FEATURES_OK (3.1.1, steps 1 to 6); return the features.

        Errors: FeaturesRejected, naming features, when the device lacks one that is required or
        refuses the choice; DeviceLost.
        """
        await self.reset()
        await self._raise_status(Status.ACKNOWLEDGE)
        await self._raise_status(Status.DRIVER)
        offered = await self._offered()
        missing = required & ~offered
        if missing:
            names = ", ".join(feature_names(missing, family))
            raise FeaturesRejected(f"the device does not offer {names}", missing=names)
        accepted = int(offered & (wanted | required))
        await self.bus.access(
            [
                access
                for word in range(FEATURE_WORDS_USED)
                for access in (
                    writing(DRIVER_FEATURES_SEL, word),
                    writing(DRIVER_FEATURES, accepted >> 32 * word & 0xFFFF_FFFF),
                )
            ]
        )
        await self._raise_status(Status.FEATURES_OK)
        if not await self.bus.read(STATUS) & Status.FEATURES_OK:
            names = ", ".join(feature_names(accepted, family))
            raise FeaturesRejected(f"the device refuses these features: {names}")
        self.features = accepted
        return accepted

    def has(self, feature: IntFlag) -> bool:
        """Return True if a feature was negotiated."""
        return bool(self.features & feature)

    async def go_live(self) -> None:
        """Set DRIVER_OK: from now on the device is live (3.1.1, step 8).

        Errors: DeviceNeedsReset if it can't work; DeviceLost.
        """
        await self._raise_status(Status.DRIVER_OK)
        await self.check()

    async def give_up(self) -> None:
        """Set FAILED: the driver has given the device up (2.1)."""
        await self._raise_status(Status.FAILED)

    async def check(self) -> None:
        """Check that the device still works. Errors: DeviceNeedsReset; DeviceLost."""
        if await self.bus.read(STATUS) & Status.DEVICE_NEEDS_RESET:
            raise DeviceNeedsReset(f"{self.bus.name} has set DEVICE_NEEDS_RESET: reset it")

    async def acknowledge(self, bits: int) -> None:
        """Acknowledge interrupts (4.2.3.4)."""
        await self.bus.write(INTERRUPT_ACK, bits)

    async def queue_size_max(self, index: int) -> int:
        """Return the largest size of a queue, in entries; 0 if there is no queue of that index."""
        _, size = await self.bus.access([writing(QUEUE_SEL, index), reading(QUEUE_SIZE_MAX)])
        return size

    async def set_up_queue(self, index: int, layout: QueueLayout) -> None:
        """Write the size and the areas of a queue, and make it ready (4.2.3.2).

        Errors: QueueUnusable if it is ready already, or the device does not make it ready.
        """
        select = writing(QUEUE_SEL, index)
        _, ready = await self.bus.access([select, reading(QUEUE_READY)])
        if ready:
            raise QueueUnusable(f"queue {index} is in use already: reset the device first")
        batch = [select, writing(QUEUE_SIZE, layout.size)]
        for low, high, area in (
            (QUEUE_DESC_LOW, QUEUE_DESC_HIGH, layout.descriptor_area),
            (QUEUE_DRIVER_LOW, QUEUE_DRIVER_HIGH, layout.driver_area),
            (QUEUE_DEVICE_LOW, QUEUE_DEVICE_HIGH, layout.device_area),
        ):
            batch += [writing(low, area & 0xFFFF_FFFF), writing(high, area >> 32)]
        *_, ready = await self.bus.access([*batch, writing(QUEUE_READY, 1), reading(QUEUE_READY)])
        if not ready:
            raise QueueUnusable(f"queue {index} was set up, and the device did not make it ready")

    async def reset_queue(self, index: int) -> None:
        """Reset one queue (2.6.1); needs VIRTIO_F_RING_RESET.

        Errors: DriverError without the feature or when it takes too long; DeviceLost.
        """
        if not self.has(Feature.VIRTIO_F_RING_RESET):
            raise DriverError("a queue can't be reset without VIRTIO_F_RING_RESET")
        select = writing(QUEUE_SEL, index)
        await self.bus.access([select, writing(QUEUE_RESET, 1)])
        await self._until_zero([select, reading(QUEUE_RESET)], f"the reset of queue {index}")

    async def read_config(self, fields: Sequence[Register]) -> dict[Register, int]:
        """Read fields of the configuration that belong together (2.5.1, 4.2.2.2).

        Reads again while ConfigGeneration changes. Errors: DriverError if it never stops changing.
        """
        return (await self.read_selections([((), fields)]))[0]

    async def read_selections(
        self, queries: Sequence[tuple[Sequence[Access], Sequence[Register]]]
    ) -> list[dict[Register, int]]:
        """Read fields that depend on selectors: each query is (writes that select, fields to read).

        All values are of one configuration, as in `read_config`. Errors: DriverError if it never
        stops changing; DeviceLost.
        """
        batch = [reading(CONFIG_GENERATION)]
        for selecting, fields in queries:
            batch += [*selecting, *(part for field in fields for part in _parts(field))]
        batch.append(reading(CONFIG_GENERATION))
        for _ in range(CONFIG_ATTEMPTS):
            values = await self.bus.access(batch)
            if values[0] == values[-1]:
                # The value of a write is 0: leave it out.
                read = (
                    v for v, one in zip(values[1:], batch[1:], strict=True) if one.value is None
                )
                return [_join(fields, read) for _, fields in queries]
        raise DriverError(
            f"the configuration of {self.bus.name} changed during each of {CONFIG_ATTEMPTS} reads"
        )

    async def write_config(self, field: Register, value: int) -> None:
        """Write one field of the configuration."""
        await self.bus.write(field, value)

    async def _raise_status(self, bit: Status) -> None:
        """Set one more bit of Status. Only a reset clears bits (2.1.1)."""
        self._status |= bit
        await self.bus.write(STATUS, self._status)

    async def _offered(self) -> int:
        """Read the features that the device offers."""
        read = await self.bus.access(
            [
                access
                for word in range(FEATURE_WORDS_USED)
                for access in (writing(DEVICE_FEATURES_SEL, word), reading(DEVICE_FEATURES))
            ]
        )
        return sum(value << 32 * word for word, value in enumerate(read[1::2]))

    async def _until_zero(self, batch: list[Access], what: str) -> None:
        """Read until the last value of a batch is 0."""
        try:
            async with time_limit(RESET_TIMEOUT_S):
                # Only the register shows it: a device raises no interrupt for it.
                while (await self.bus.access(batch))[-1]:  # noqa: ASYNC110 - as said
                    await asyncio.sleep(RESET_POLL_S)
        except TimeoutError:
            raise DriverError(
                f"{what} of {self.bus.name} is not done after {RESET_TIMEOUT_S:g} s"
            ) from None


def _parts(field: Register) -> Iterator[Access]:
    """Split the read of a field into accesses of its widest allowed width."""
    width = max(field.widths)
    for start in range(0, field.size, width):
        yield Access(field.offset + start, width)


def _join(fields: Sequence[Register], read: Iterator[int]) -> dict[Register, int]:
    """Join the parts of fields, little-endian."""
    return {
        field: sum(next(read) << 8 * (part.offset - field.offset) for part in _parts(field))
        for field in fields
    }
