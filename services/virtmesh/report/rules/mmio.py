"""Rules about the registers of virtio over MMIO (virtio 1.4, 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.report.rule import Rule
from virtmesh.report.rules.status import QUEUE_SET_UP, refused_for
from virtmesh_common.errors import (
    BadValue,
    BadWidth,
    Misaligned,
    NoSuchQueue,
    NotReadable,
    NotWritable,
    UnknownRegister,
)
from virtmesh_common.registers import Access as Direction
from virtmesh_common.virtio import mmio

if TYPE_CHECKING:
    from virtmesh.report.event import Access

SHARED_MEMORY = frozenset(
    (mmio.SHM_SEL, mmio.SHM_LEN_LOW, mmio.SHM_LEN_HIGH, mmio.SHM_BASE_LOW, mmio.SHM_BASE_HIGH)
)
FLAGS = frozenset((mmio.QUEUE_READY, mmio.QUEUE_RESET))
"""Registers that take 0 and 1."""


def is_legacy(access: Access) -> bool:
    """Say whether an access is of a register that only legacy devices have."""
    return access.register is not None and access.register.access is Direction.RESERVED


def is_config(access: Access) -> bool:
    """Say whether an access is of the configuration space."""
    return access.offset >= mmio.MMIO_CONFIG


def misfit(access: Access) -> bool:
    """Say whether an access was refused for its width or its alignment."""
    return isinstance(access.error, BadWidth | Misaligned)


def sets_up(access: Access) -> bool:
    """Say whether an access changes the selected queue, other than stopping it."""
    return (
        access.error is None
        and access.is_write
        and access.register in QUEUE_SET_UP
        and not (access.register is mmio.QUEUE_READY and not access.value)
    )


ASKED_FOR_SHARED_MEMORY = frozenset(("gpu",))
"""Kinds whose drivers are told to ask for regions, whether there are any or not (5.7.5)."""

RULES = (
    Rule(
        "undescribed-register",
        "4.2.2.2",
        "Access only what the register table and the device's configuration layout describe.",
        lambda access, _: isinstance(access.error, UnknownRegister) and not is_legacy(access),
    ),
    Rule(
        "legacy-register",
        "4.2.4",
        "Use no register of the legacy layout: the device has version 2.",
        lambda access, _: isinstance(access.error, UnknownRegister) and is_legacy(access),
    ),
    Rule(
        "read-only-register",
        "4.2.2.2",
        "Write no read-only register.",
        lambda access, dialogue: (
            isinstance(access.error, NotWritable)
            and not (dialogue.kind == "input" and is_config(access))
        ),
    ),
    Rule(
        "write-only-register",
        "4.2.2.2",
        "Read no write-only register.",
        lambda access, _: isinstance(access.error, NotReadable),
    ),
    Rule(
        "control-width",
        "4.2.2.2",
        "Access control registers by 32 bits, aligned.",
        lambda access, _: misfit(access) and not is_config(access),
    ),
    Rule(
        "config-width",
        "4.2.2.2",
        "Access a field of the configuration space by its own width, one of 64 bits by 32 bits.",
        lambda access, _: misfit(access) and is_config(access),
    ),
    Rule(
        "device-features-sel",
        "4.2.2.2",
        "Write DeviceFeaturesSel before reading DeviceFeatures.",
        lambda access, dialogue: (
            access.register is mmio.DEVICE_FEATURES
            and access.error is None
            and not dialogue.since_reset(mmio.DEVICE_FEATURES_SEL, written=True)
        ),
    ),
    Rule(
        "driver-features-sel",
        "4.2.2.2",
        "Write DriverFeaturesSel before writing DriverFeatures.",
        lambda access, dialogue: (
            access.register is mmio.DRIVER_FEATURES
            and access.error is None
            and not dialogue.since_reset(mmio.DRIVER_FEATURES_SEL, written=True)
        ),
    ),
    Rule(
        "queue-size-max",
        "4.2.2.2",
        "Choose a QueueSize of at most QueueSizeMax.",
        lambda access, _: (
            access.register is mmio.QUEUE_SIZE and refused_for(access, "is more than")
        ),
    ),
    Rule(
        "queue-size-power",
        "2.7",
        "Choose a power of two as the size of a split queue.",
        lambda access, _: (
            access.register is mmio.QUEUE_SIZE and refused_for(access, "no power of two")
        ),
    ),
    Rule(
        "queue-in-use",
        "4.2.2.2",
        "Write neither size nor addresses of a queue while QueueReady is not 0.",
        lambda access, _: access.register in QUEUE_SET_UP and refused_for(access, "is in use"),
    ),
    Rule(
        "queue-stop-read",
        "4.2.2.2",
        "After writing 0 to QueueReady, read it back until it is 0 before using the queue again.",
        lambda access, dialogue: (
            (access.register in QUEUE_SET_UP and refused_for(access, "is being stopped"))
            or (sets_up(access) and dialogue.selected in dialogue.stopped_unseen)
        ),
    ),
    Rule(
        "queue-reset-read",
        "2.6.1.1.2",
        "After resetting a queue, read QueueReset until it is 0 before using the queue again.",
        lambda access, dialogue: sets_up(access) and dialogue.selected in dialogue.reset_unseen,
    ),
    Rule(
        "queue-reset-negotiated",
        "4.2.2",
        "Use QueueReset only with VIRTIO_F_RING_RESET.",
        lambda access, _: (
            access.register is mmio.QUEUE_RESET and refused_for(access, "was not negotiated")
        ),
    ),
    Rule(
        "queue-size-first",
        "4.2.3.2",
        "Write QueueSize before QueueReady.",
        lambda access, _: (
            access.register is mmio.QUEUE_READY and refused_for(access, "write QueueSize first")
        ),
    ),
    Rule(
        "queue-areas",
        "2.6",
        "Give a queue areas in memory, aligned as its format asks (2.7, 2.8).",
        lambda access, _: access.register is mmio.QUEUE_READY and refused_for(access, "(2.6)"),
    ),
    Rule(
        "queue-exists",
        "4.2.3.2",
        "Set up only queues whose QueueSizeMax is not 0.",
        lambda access, _: (
            isinstance(access.error, NoSuchQueue) and access.register is not mmio.QUEUE_NOTIFY
        ),
    ),
    Rule(
        "queue-flag-value",
        "4.2.2",
        "Write 0 or 1 to QueueReady and QueueReset.",
        lambda access, _: access.register in FLAGS and isinstance(access.error, BadValue),
    ),
    Rule(
        "notify-queue",
        "4.2.3.3",
        "Write the index of a queue to QueueNotify.",
        lambda access, _: (
            isinstance(access.error, NoSuchQueue) and access.register is mmio.QUEUE_NOTIFY
        ),
    ),
    Rule(
        "interrupt-ack-bits",
        "4.2.2.2",
        "Set no undefined bit in InterruptACK.",
        lambda access, _: (
            access.register is mmio.INTERRUPT_ACK and refused_for(access, "(4.2.2.2)")
        ),
    ),
    Rule(
        "shared-memory",
        "4.2.3.1.1",
        "Use no shared memory register of a device that has no shared memory.",
        lambda access, dialogue: (
            access.register in SHARED_MEMORY
            and access.error is None
            and not dialogue.has_shared_memory
            and dialogue.kind not in ASKED_FOR_SHARED_MEMORY
        ),
    ),
    Rule(
        "vendor-id",
        "4.2.2",
        "Take VendorID for what it is: who made the device. Judged where a quirk changes it.",
    ),
)
