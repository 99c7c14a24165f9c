"""The device status field (virtio 1.4, 2.1) and the order in which a driver may set it (3.1.1)."""

from __future__ import annotations

from enum import IntFlag

from virtmesh_common.errors import DriverViolation


class Status(IntFlag):
    """Bits of the device status field (2.1)."""

    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    SUSPEND = 16
    DEVICE_NEEDS_RESET = 64
    FAILED = 128


STATUS_DOCS: dict[IntFlag, str] = {
    Status.ACKNOWLEDGE: "The driver side has found the device",
    Status.DRIVER: "It knows how to drive it",
    Status.DRIVER_OK: "The driver is set up; the device is live",
    Status.FEATURES_OK: "Feature negotiation is complete",
    Status.SUSPEND: "The device is suspended: refused here, VIRTIO_F_SUSPEND is not offered",
    Status.DEVICE_NEEDS_RESET: "An error that it can't recover from. Only the device sets it",
    Status.FAILED: "The driver has given up on the device",
}
"""What the bits mean."""

_FOUND = Status.ACKNOWLEDGE
_DRIVEN = _FOUND | Status.DRIVER
_NEGOTIATED = _DRIVEN | Status.FEATURES_OK
_LIVE = _NEGOTIATED | Status.DRIVER_OK

TRANSITIONS: dict[Status, tuple[Status, ...]] = {
    # Between ACKNOWLEDGE and DRIVER nothing happens, so one write may set both. Before FEATURES_OK
    # the features are read, and before DRIVER_OK FEATURES_OK is read back (3.1.1): these need
    # writes of their own.
    Status(0): (_FOUND, _DRIVEN),
    _FOUND: (_DRIVEN,),
    _DRIVEN: (_NEGOTIATED,),
    _NEGOTIATED: (_LIVE,),
    _LIVE: (),
}
"""The legal steps of initialisation. FAILED may be added to any state, and ends it; a write that
changes nothing is legal; a write of 0 resets and is no step."""

WRITABLE = _LIVE | Status.FAILED
"""Bits that a driver may set."""


def check_transition(current: Status, written: int) -> Status:
    """Return the state that a write of a non-zero value asks for.

    `current` is what the driver reads, DEVICE_NEEDS_RESET included. Errors: DriverViolation.
    """
    # The device sets DEVICE_NEEDS_RESET at any time: a driver that writes what it read before
    # neither clears the bit nor breaks a rule. Numbers, not flags: the complement of a flag has
    # only the bits that have names.
    needs_reset = int(current) & int(Status.DEVICE_NEEDS_RESET)
    before = Status(int(current) & ~needs_reset)
    target = Status(written & ~needs_reset)
    unknown = int(target) & ~int(WRITABLE)
    if unknown:
        raise DriverViolation(f"Status: a driver may not set {spell(unknown)} (2.1)")
    cleared = before & ~target
    if cleared:
        raise DriverViolation(
            f"Status: a driver may not clear {spell(cleared)} but by a reset, writing 0 (2.1.1)"
        )
    if target == before:
        return target
    if before & Status.FAILED:
        raise DriverViolation("Status: after FAILED the driver must reset the device (2.1.1)")
    step = target & ~Status.FAILED
    if step != before and step not in TRANSITIONS[before]:
        raise DriverViolation(
            f"Status: {spell(target & ~before)} can't follow {spell(before)} (3.1.1)"
        )
    return target


def status_names(status: int) -> list[str]:
    """Name the bits of a device status, in ascending order."""
    return [_name(1 << bit) for bit in range(status.bit_length()) if status >> bit & 1]


def spell(status: int) -> str:
    """Write a device status for people: ACKNOWLEDGE|DRIVER."""
    return "|".join(status_names(status)) or "a reset"


def _name(bit: int) -> str:
    """Name one bit."""
    name = Status(bit).name if bit in Status.__members__.values() else None
    return name or f"bit {bit:#x}"
