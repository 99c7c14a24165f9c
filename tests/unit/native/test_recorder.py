"""The native flight recorder, as Python sees it, and what native queues record."""

from __future__ import annotations

import time

import pytest
from virtmesh_native import DeviceQueue, DriverQueue, Interrupt, Recorder

from tests.support.native_rig import DATA, HEADER, make_config, make_memory
from tests.support.recorded import rows
from virtmesh.telemetry.recorder import read_page
from virtmesh_common.api.trace.v1 import trace_pb2 as pb


def test_every_column_survives_with_its_largest_value() -> None:
    """Columns have the widths of the contract."""
    recorder = Recorder(8)
    before = time.monotonic_ns()
    recorder.record(
        pb.EVENT_KIND_FAULT,
        detail=127,
        queue=127,
        token=2**32 - 1,
        value=2**64 - 1,
        extra=2**64 - 2,
        text="words",
    )
    page = read_page(recorder, 0, 8)
    assert rows(recorder) == [("FAULT", 127, 127, 2**32 - 1, 2**64 - 1, 2**64 - 2)]
    assert before <= page.times_ns[0] <= time.monotonic_ns()
    assert page.notes == [pb.Note(sequence=0, text="words")]


def test_a_long_page_is_whole() -> None:
    """Columns of more than 127 bytes, and of more than 16 KiB, are parsed as they were."""
    recorder = Recorder(4096)
    for number in range(4096):
        recorder.record(pb.EVENT_KIND_PUSH, value=number)
    assert list(read_page(recorder, 0, 4096).values) == list(range(4096))
    assert list(read_page(recorder, 0, 300).values) == list(range(300))


@pytest.mark.parametrize(
    ("kind", "detail", "queue"),
    [(0, 0, 0), (127, 0, 0), (pb.EVENT_KIND_PUSH, 128, 0), (pb.EVENT_KIND_PUSH, 0, 128)],
)
def test_an_event_that_would_not_fit_the_wire_is_refused(
    kind: int, detail: int, queue: int
) -> None:
    """Nothing is recorded of it."""
    recorder = Recorder(8)
    with pytest.raises(ValueError, match=r"event|above 127"):
        recorder.record(kind, detail=detail, queue=queue)
    assert recorder.next == 0


def test_a_capacity_beyond_the_limit_is_refused() -> None:
    """The limit is part of the message."""
    with pytest.raises(ValueError, match=str(Recorder.CAPACITY_MAX)):
        Recorder(Recorder.CAPACITY_MAX + 1)


def test_accesses_are_recorded_as_far_as_they_were_executed() -> None:
    """What stands behind the results may be any nonsense."""
    recorder = Recorder(8)
    recorder.record_registers(7, [0x70, 0x60, 2**40], [4, 0x84, -1], [0, 9, 2**70], [5, 0])
    assert rows(recorder) == [
        ("REGISTER_READ", 4, 0, 0x70, 5, 0),
        ("REGISTER_WRITE", 4, 0, 0x60, 9, 0),
    ]
    assert list(read_page(recorder, 0, 8).times_ns) == [7, 7]


def test_an_interrupt_has_one_recorder() -> None:
    """One that is off until it is set, once."""
    interrupt, recorder = Interrupt(), Recorder(8)
    assert interrupt.recorder.capacity == 0
    interrupt.recorder = recorder
    interrupt.raise_used(5)
    assert rows(recorder) == [("INTERRUPT", 1, 5, 0, 0, 0)]
    with pytest.raises(ValueError, match="has a recorder"):
        interrupt.recorder = recorder


def test_a_chain_is_followed_through_both_ends_of_a_queue() -> None:
    """The token is the same on both sides, and a notification that is not wanted is seen."""
    memory, config = make_memory(), make_config()
    drivers, devices = Recorder(16), Recorder(16)
    driver = DriverQueue(memory, config, recorder=drivers, index=3)
    device = DeviceQueue(memory, config, recorder=devices, index=3)
    device.enable_notifications()
    token = driver.add([(HEADER, 16)], [(DATA, 100), (DATA + 100, 1)])
    assert driver.should_notify()
    device.disable_notifications()
    chain = device.pop()
    assert device.pop() is None
    assert chain is not None
    device.push(chain[0], 101)
    assert driver.pop_used() == [(token, 101)]
    driver.add([(HEADER, 16)], [])
    assert not driver.should_notify()
    assert not driver.should_notify()

    assert rows(drivers) == [
        ("ADD", 0, 3, token, 3, 117),
        ("NOTIFY", 0, 3, 0, 0, 0),
        ("POP_USED", 0, 3, token, 101, 0),
        ("ADD", 0, 3, rows(drivers)[3][3], 1, 16),
        ("NOTIFY_SUPPRESSED", 0, 3, 0, 0, 0),
    ]
    assert rows(devices) == [("POP", 0, 3, token, 3, 117), ("PUSH", 0, 3, token, 101, 0)]


def test_time_of_one_side_comes_before_the_reaction_of_the_other() -> None:
    """Adding and giving back are timed before they show."""
    memory, config = make_memory(), make_config()
    drivers, devices = Recorder(256), Recorder(256)
    driver = DriverQueue(memory, config, recorder=drivers)
    device = DeviceQueue(memory, config, recorder=devices)
    for _ in range(100):
        driver.add([(HEADER, 16)], [])
        chain = device.pop()
        assert chain is not None
        device.push(chain[0], 0)
        driver.pop_used()
    added, used = (list(read_page(drivers, 0, 256).times_ns[side::2]) for side in (0, 1))
    taken, given = (list(read_page(devices, 0, 256).times_ns[side::2]) for side in (0, 1))
    dialogue = [time for turn in zip(added, taken, given, used, strict=True) for time in turn]
    assert dialogue == sorted(dialogue)
