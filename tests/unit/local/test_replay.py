"""What of a saved trace is replayed, and with how much memory; hostile files are refused."""

from __future__ import annotations

import pytest

from tests.support.trace_events import DEVICE, DRIVER, Tape, source
from virtmesh.local.replay import QUEUE_ROOM, RAM_BYTES, ram_bytes, steps_of
from virtmesh.machine import RAM_ADDRESS
from virtmesh_common.errors import BadTrace
from virtmesh_common.virtio import mmio


def test_the_register_accesses_of_the_device_are_replayed() -> None:
    """Those of one device, with what tells where its dialogue began anew."""
    tape, other = Tape(DEVICE), Tape(source("device", "vdb"))
    write, reset, attach = tape.write(mmio.STATUS.offset, 1), tape("reset"), tape("attach")
    noise = [tape("pop"), tape("notify"), Tape(DRIVER)("attach"), other.write(0x70, 1)]
    assert steps_of([attach, write, *noise, reset], "vda") == [attach, write, reset]


def test_a_trace_without_the_device_says_what_it_has() -> None:
    """So that the name can be mended."""
    with pytest.raises(BadTrace, match="'vdb' is in the trace: it has vda"):
        steps_of([Tape(DEVICE).read(0, 1)], "vdb")


def test_a_trace_with_a_hole_is_not_replayed() -> None:
    """The accesses behind it depend on those that are missing."""
    tape = Tape(DEVICE)
    with pytest.raises(BadTrace, match="7 events of vda are missing"):
        steps_of([tape.read(0, 1), tape("lost", value=7), tape.read(0, 1)], "vda")


def test_a_trace_may_begin_with_what_was_lost() -> None:
    """Recorders keep the latest events."""
    tape = Tape(DEVICE)
    lost, read = tape("lost", value=7), tape.read(0, 1)
    assert steps_of([lost, read], "vda") == [read]


def test_an_access_without_a_width_is_refused() -> None:
    """Its number could turn a read into a write."""
    with pytest.raises(BadTrace, match="0x84"):
        steps_of([Tape(DEVICE).read(0, 1, width=0x84)], "vda")


def test_the_memory_holds_the_queues_of_the_trace() -> None:
    """Their addresses are written in two halves."""
    tape = Tape(DEVICE)
    near = tape.write(mmio.QUEUE_DESC_LOW.offset, RAM_ADDRESS)
    far = [
        tape.write(mmio.QUEUE_DRIVER_LOW.offset, RAM_ADDRESS),
        tape.write(mmio.QUEUE_DRIVER_HIGH.offset, 1),
    ]
    assert ram_bytes([near]) == RAM_BYTES
    assert ram_bytes([near, *far]) == (1 << 32) + QUEUE_ROOM


def test_an_address_that_no_memory_has_asks_for_no_memory() -> None:
    """The device refuses the queue, as it does for any driver."""
    tape = Tape(DEVICE)
    high = tape.write(mmio.QUEUE_DEVICE_HIGH.offset, 0xFFFF_FFFF)
    assert ram_bytes([high]) == RAM_BYTES
