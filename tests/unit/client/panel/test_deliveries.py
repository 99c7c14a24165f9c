"""What became of input events, out of what the recorders say."""

from __future__ import annotations

from virtmesh_client.input.models import Received
from virtmesh_client.panel.deliveries import SAME_US, Chain, Deliveries, spell_delivery
from virtmesh_client.trace.events import Event, Source
from virtmesh_common.input.events import Event as InputEvent

KEYBOARD = Source("keyboard", "device", realtime_offset_ns=5_000_000_000)
KEY_A = InputEvent(1, 30, 1)


def event(kind: str, time_us: int, token: int = 0, value: int = 8) -> Event:
    """Make an event of a recorder."""
    return Event(KEYBOARD, 0, time_us * 1000, kind, token=token, value=value)


def deliver(deliveries: Deliveries, at_us: int, token: int) -> None:
    """Let a buffer go its way: interrupt after 10 us, arrival after 30, taken after 40."""
    steps = [("push", 0), ("interrupt", 10), ("irq", 30), ("pop_used", 40)]
    for kind, after in steps:
        one = event(kind, at_us + after, token)
        deliveries.learn(one, one.time_ns)


def received(at_us: int, sequence: int = 1) -> Received:
    """Make an event as the driver got it."""
    return Received(sequence, 5_000_000 + at_us, KEY_A)


def test_an_event_has_its_way() -> None:
    """Times count from when it was given to the queue."""
    deliveries = Deliveries()
    deliver(deliveries, 1000, token=7)

    chain = deliveries.match("keyboard", received(1040))

    told = spell_delivery("keyboard", received(1040), chain)
    assert told["event"] == "KEY_A 1"
    assert told["buffer"] == 7
    assert told["steps"] == {"raised": 10.0, "arrived": 30.0, "used": 40.0}


def test_events_take_their_buffers_in_order() -> None:
    """Each its own; one that came before is passed over."""
    deliveries = Deliveries()
    for token in range(3):
        deliver(deliveries, 100_000 * token, token)

    chains = [deliveries.match("keyboard", received(100_000 * n + 40)) for n in (0, 2)]

    assert [chain.token for chain in chains if chain] == [0, 2]


def test_an_event_without_a_buffer_takes_none_of_others() -> None:
    """The recorder has lost it: the next event still finds its own."""
    deliveries = Deliveries()
    deliver(deliveries, 10 * SAME_US, token=1)

    assert deliveries.match("keyboard", received(0)) is None
    assert deliveries.match("keyboard", received(10 * SAME_US + 40)) is not None
    assert "buffer" not in spell_delivery("keyboard", received(0), None)


def test_an_interrupt_that_was_before_is_not_its_own() -> None:
    """A device that raises none for a buffer leaves that step out."""
    deliveries = Deliveries()
    for kind, at in (("push", 0), ("interrupt", 5), ("push", 10), ("pop_used", 20)):
        one = event(kind, at, token=at)
        deliveries.learn(one, one.time_ns)
    taken = event("pop_used", 30, token=10)
    deliveries.learn(taken, taken.time_ns)

    chain = Chain(10, 10_000, 0, 0, 30_000, 5_000_030)
    assert deliveries.match("keyboard", received(20)) is not None
    assert deliveries.match("keyboard", received(30)) == chain


def test_buffers_from_before_the_watch_are_passed_over() -> None:
    """Although they were taken a moment ago."""
    deliveries = Deliveries()
    for token in range(3):
        deliver(deliveries, 50_000 * token, token)

    chains = [deliveries.match("keyboard", received(50_000 * n + 100)) for n in (1, 2)]

    assert [chain.token for chain in chains if chain] == [1, 2]


def test_a_reset_forgets_what_was_under_way() -> None:
    """Tokens begin anew."""
    deliveries = Deliveries()
    pushed = event("push", 0, token=3)
    deliveries.learn(pushed, pushed.time_ns)
    reset = event("reset", 10)
    deliveries.learn(reset, reset.time_ns)
    taken = event("pop_used", 20, token=3)
    deliveries.learn(taken, taken.time_ns)

    assert deliveries.match("keyboard", received(20)) is None


def test_other_devices_are_left_alone() -> None:
    """Buffers of other sizes are no input events."""
    deliveries = Deliveries()
    disk = event("push", 0, value=513)
    deliveries.learn(disk, disk.time_ns)

    assert deliveries.match("keyboard", received(0)) is None
