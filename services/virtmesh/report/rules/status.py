"""Rules about device status, order of initialization and reset (virtio 1.4, 2.1, 2.4, 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.report.rule import Rule
from virtmesh_common.errors import DriverViolation
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from virtmesh.report.dialogue import Dialogue
    from virtmesh.report.event import Access

PROBED = (mmio.MAGIC_VALUE, mmio.VERSION, mmio.DEVICE_ID)
"""What a driver reads before all else (4.2.3.1.1)."""
QUEUE_SET_UP = frozenset(
    (
        mmio.QUEUE_SIZE,
        mmio.QUEUE_READY,
        mmio.QUEUE_RESET,
        mmio.QUEUE_DESC_LOW,
        mmio.QUEUE_DESC_HIGH,
        mmio.QUEUE_DRIVER_LOW,
        mmio.QUEUE_DRIVER_HIGH,
        mmio.QUEUE_DEVICE_LOW,
        mmio.QUEUE_DEVICE_HIGH,
    )
)
"""Registers that are written to set a queue up."""


def refused_for(access: Access, phrase: str) -> bool:
    """Say whether an access was refused, and the message has a phrase."""
    return isinstance(access.error, DriverViolation) and phrase in access.error.message


def status_written(access: Access) -> bool:
    """Say whether an access writes Status with something other than a reset."""
    return access.register is mmio.STATUS and access.is_write and access.value != 0


def gains(access: Access, dialogue: Dialogue, bit: Status) -> bool:
    """Say whether a write of Status, which was executed, sets a bit that was not set."""
    return (
        status_written(access)
        and access.error is None
        and bool(access.value & ~dialogue.status & bit)
    )


RULES = (
    Rule(
        "probe-first",
        "4.2.3.1.1",
        "Read and check MagicValue, Version and DeviceID before anything else.",
        lambda access, dialogue: (
            gains(access, dialogue, Status.ACKNOWLEDGE)
            and not all(dialogue.ever(register) for register in PROBED)
        ),
    ),
    Rule(
        "init-reset",
        "3.1.1",
        "Begin the initialization with a reset: write 0 to Status.",
        lambda access, dialogue: (
            gains(access, dialogue, Status.ACKNOWLEDGE) and not dialogue.was_reset
        ),
    ),
    Rule(
        "status-order",
        "3.1.1",
        "Set ACKNOWLEDGE, DRIVER, FEATURES_OK and DRIVER_OK in this order, the last two alone.",
        lambda access, _: status_written(access) and refused_for(access, "can't follow"),
    ),
    Rule(
        "status-clear",
        "2.1.1",
        "Clear no bit of Status but by a reset.",
        lambda access, _: status_written(access) and refused_for(access, "may not clear"),
    ),
    Rule(
        "status-bits",
        "2.1",
        "Set no bit of Status that is undefined, was not negotiated, or is the device's.",
        lambda access, _: status_written(access) and refused_for(access, "may not set"),
    ),
    Rule(
        "failed-reset",
        "2.1.1",
        "After FAILED, reset the device before initializing it again.",
        lambda access, _: status_written(access) and refused_for(access, "after FAILED"),
    ),
    Rule(
        "features-ok-read",
        "3.1.1",
        "Read Status again after writing FEATURES_OK, to see whether the bit is still set.",
        lambda access, dialogue: (
            gains(access, dialogue, Status.DRIVER_OK) and not dialogue.since_reset(mmio.STATUS)
        ),
    ),
    Rule(
        "queue-before-features-ok",
        "3.1.1",
        "Set queues up after FEATURES_OK.",
        lambda access, _: (
            access.register in QUEUE_SET_UP and refused_for(access, "before FEATURES_OK")
        ),
    ),
    Rule(
        "config-before-features-ok",
        "3.1.1",
        "Write no field of the configuration space before FEATURES_OK.",
        lambda access, _: (
            access.register not in QUEUE_SET_UP and refused_for(access, "before FEATURES_OK")
        ),
    ),
    Rule(
        "notify-before-driver-ok",
        "3.1.1",
        "Send no available buffer notification before DRIVER_OK.",
        lambda access, _: refused_for(access, "before DRIVER_OK"),
    ),
    Rule(
        "write-during-reset",
        "2.4",
        "After a reset, wait until Status reads 0 before writing anything else.",
        lambda access, _: refused_for(access, "during a reset"),
    ),
)
