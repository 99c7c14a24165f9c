"""One order for several recorders, in the past and live."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.trace_events import DEVICE, DRIVER, OFFSET_NS, Tape
from virtmesh_client.trace.events import LOST, read_page
from virtmesh_client.trace.merge import WAITING_MAX, Clock, LiveMerge, merge
from virtmesh_common.api.trace.v1 import trace_pb2 as pb


def test_sources_of_one_host_are_merged_by_their_clock() -> None:
    """Whichever came first in the argument."""
    driver, device = Tape(DRIVER), Tape(DEVICE)
    first, third = driver("add", at=1), driver("pop_used", at=3)
    second = device("pop", at=2)
    assert list(merge([[second], [first, third]], Clock())) == [first, second, third]


def test_a_batch_that_was_recorded_at_its_end_stands_where_it_began() -> None:
    """Accesses of one time keep their order."""
    tape = Tape(DEVICE)
    status = tape("status", at=20)
    batch = [tape("register_write", at=10, token=offset) for offset in (8, 4, 0)]
    assert list(merge([[status, *batch]], Clock())) == [*batch, status]


def test_events_that_a_service_numbers_alike_keep_their_order() -> None:
    """Nothing else tells them apart."""
    first = Tape(DEVICE)("pop", at=1, token=2)
    second = replace(first, token=1)
    assert list(merge([[first, second]], Clock())) == [first, second]


@given(st.lists(st.integers(0, 1 << 40), max_size=200), st.lists(st.integers(0, 1 << 40)))
def test_everything_comes_out_once_and_in_order(here: list[int], there: list[int]) -> None:
    """Whatever the times of the sources."""
    driver, device = Tape(DRIVER), Tape(DEVICE)
    streams = [[driver("add", at=at) for at in here], [device("pop", at=at) for at in there]]
    merged = list(merge(streams, Clock()))
    assert [event.time_ns for event in merged] == sorted(here + there)
    assert len(set(merged)) == len(here) + len(there)


def test_hosts_are_placed_by_their_time_of_day() -> None:
    """Their clocks began at different times."""
    other = replace(DEVICE, boot_id="another", realtime_offset_ns=OFFSET_NS - 1000)
    here, there = Tape(DRIVER), Tape(other)
    early, late = there("pop", at=1500), here("add", at=1000)
    assert list(merge([[late], [early]], Clock())) == [early, late]


def test_the_clock_of_a_host_does_not_jump() -> None:
    """Its time of day is set while the trace goes on."""
    clock = Clock()
    assert clock.time(Tape(DEVICE)("pop", at=5)) == 5
    adjusted = replace(DEVICE, realtime_offset_ns=OFFSET_NS + 10**9)
    assert clock.time(Tape(adjusted)("pop", at=6)) == 6


def test_live_events_wait_for_those_that_come_late() -> None:
    """For as long as was said, by the clock that is handed in."""
    live = LiveMerge(Clock(), wait=1.0)
    driver, device = Tape(DRIVER), Tape(DEVICE)
    late, early = driver("pop_used", at=20), device("push", at=10)
    live.add([late], now=0.0)
    live.add([early], now=0.5)
    assert list(live.ready(now=0.9)) == []
    assert list(live.ready(now=1.0)) == [early, late]


def test_live_events_that_are_too_many_do_not_wait() -> None:
    """What is kept is bounded; the earliest go first."""
    live = LiveMerge(Clock(), wait=1.0)
    tape = Tape(DEVICE)
    live.add([tape("pop", at=at) for at in range(WAITING_MAX + 3)], now=0.0)
    assert [event.time_ns for event in live.ready(now=0.0)] == [0, 1, 2]
    assert len(list(live.rest())) == WAITING_MAX


def page(lost: int = 0, **columns: list[int]) -> pb.Page:
    """Make a page of one event."""
    names = ("times_ns", "kinds", "details", "queues", "tokens", "values", "extras")
    rows = {name: [1] for name in names} | columns
    return pb.Page(first_sequence=5, lost=lost, **rows)  # type: ignore[arg-type]


def test_what_was_lost_stands_before_the_page_that_says_so() -> None:
    """As an event of its own, at the same time."""
    events = list(merge([read_page(DEVICE, page(lost=4))], Clock()))
    assert [(event.kind, event.sequence) for event in events] == [(LOST, 5), ("register_read", 5)]
    assert events[0].value == 4


def test_a_page_with_uneven_columns_is_refused() -> None:
    """A service could send anything."""
    with pytest.raises(ValueError, match="zip"):
        list(read_page(DEVICE, page(values=[])))


def test_a_kind_of_a_newer_service_keeps_its_number() -> None:
    """It is shown, not refused."""
    (event,) = read_page(DEVICE, page(kinds=[99]))
    assert event.kind == "kind_99"
