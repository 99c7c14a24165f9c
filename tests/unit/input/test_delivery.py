"""Delivery on real rings: whole packets, parts where the queue is smaller, and drivers that go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtmesh_native import DriverQueue, GuestMemory, QueueConfig

from tests.support.input_poster import Event, EventPoster
from tests.support.native_rig import BASE, make_memory
from virtmesh.input.delivery import (
    EVENTS_PER_PACKET,
    FIRST_PATIENCE_S,
    PACKET_EVENTS_MAX,
    PATIENCE_S,
    Delivery,
    Packet,
)
from virtmesh.input.rings import EventRing, StatusRing, first_bytes
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import RingCorrupt
from virtmesh_common.input.spec import EVENT

SIZE = 16
DRIVER_AREA = BASE + 0x8000
DEVICE_AREA = BASE + 0x10000
BUFFERS = BASE + 0x20000


class Rig:
    """A delivery, a driver that does as it is told, and word of what became of packets."""

    def __init__(self, size: int = SIZE, *, event_idx: bool = True, room: int = 64) -> None:
        self.memory = make_memory()
        self.delivery = Delivery(room)
        self.ends: list[tuple[int, pb.Outcome.ValueType]] = []
        self.size = size
        self.event_idx = event_idx
        self.drive()

    def drive(self) -> None:
        """Start a driver, on cleared rings."""
        config = QueueConfig(
            size=self.size,
            descriptor_area=BASE,
            driver_area=DRIVER_AREA,
            device_area=DEVICE_AREA,
            event_idx=self.event_idx,
            indirect=False,
        )
        self.queue = DriverQueue(self.memory, config)
        self.driver = EventPoster(self.queue, self.memory, BUFFERS, self.size)
        self.delivery.start(EventRing(self.memory, config), self.size)

    def put(self, number: int, length: int) -> None:
        """Accept a packet whose events say which packet and place they are."""
        events = [EVENT.pack(2, number, place) for place in range(length)]
        self.delivery.put(Packet(number, events, lambda *end: self.ends.append(end)))

    def flush(self) -> list[Event]:
        """Deliver what can be delivered; return what the driver got."""
        self.delivery.flush()
        return self.driver.take()


def packet(number: int, length: int, start: int = 0) -> list[Event]:
    """Return the events of a packet."""
    return [(2, number, place) for place in range(start, length)]


@pytest.fixture(params=[True, False], ids=["event-idx", "flags"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Make a rig, with and without VIRTIO_F_EVENT_IDX."""
    return Rig(event_idx=request.param)


def test_packets_wait_for_a_driver_and_come_in_order(rig: Rig) -> None:
    """All of them, one after the other, whole, each with its end."""
    for number in range(1, 5):
        rig.put(number, 3)
    assert rig.flush() == []
    assert rig.delivery.waiting == 4
    rig.driver.post()
    assert rig.flush() == [event for number in range(1, 5) for event in packet(number, 3)]
    assert rig.ends == [(number, pb.OUTCOME_DELIVERED) for number in range(1, 5)]
    assert (rig.delivery.delivered, rig.delivery.events_delivered) == (4, 12)


def test_a_packet_waits_for_enough_buffers(rig: Rig) -> None:
    """Nothing of it is written before all of it can be; a shorter one doesn't overtake it."""
    rig.driver.post(4)
    rig.put(1, 5)
    rig.put(2, 1)
    assert rig.flush() == []
    rig.driver.post(1)
    assert rig.flush() == packet(1, 5)
    rig.driver.post(1)
    assert rig.flush() == packet(2, 1)
    assert rig.delivery.split == 0


def test_a_packet_longer_than_the_queue_comes_in_parts(rig: Rig) -> None:
    """As many events as there are buffers, in order, and no other packet in between."""
    rig.driver.post()
    rig.put(1, 2 * SIZE + 3)
    rig.put(2, 2)
    got = []
    while rig.delivery.waiting:
        got += rig.flush()
        rig.driver.post()
    assert got == [*packet(1, 2 * SIZE + 3), *packet(2, 2)]
    assert rig.ends == [(1, pb.OUTCOME_DELIVERED), (2, pb.OUTCOME_DELIVERED)]
    assert (rig.delivery.split, rig.delivery.delivered) == (1, 2)


def test_a_driver_that_never_posts_enough(rig: Rig) -> None:
    """After a short wait its four buffers are taken for all that it has; from then on, at once."""
    rig.driver.post(4)
    rig.put(1, 6)
    assert rig.flush() == []
    assert rig.delivery.patience == FIRST_PATIENCE_S
    rig.delivery.give_up_waiting()
    assert rig.flush() == packet(1, 4)
    rig.driver.post(4)
    assert rig.flush() == packet(1, 6, start=4)
    rig.put(2, 5)
    rig.driver.post(2)
    assert rig.flush() == packet(2, 4)
    rig.driver.post(4)
    assert rig.flush() == packet(2, 5, start=4)
    rig.put(3, 4)
    assert rig.flush() == []
    rig.driver.post(1)
    assert rig.flush() == packet(3, 4)


def test_a_driver_that_posts_fewer_than_before(rig: Rig) -> None:
    """It is given longer, since it may just be stopped; then it gets parts as well."""
    rig.driver.post(8)
    rig.put(1, 8)
    assert rig.flush() == packet(1, 8)
    rig.driver.post(3)
    rig.put(2, 8)
    assert rig.flush() == []
    assert rig.delivery.patience == PATIENCE_S
    rig.delivery.give_up_waiting()
    assert rig.flush() == packet(2, 3)
    rig.driver.post()
    assert rig.flush() == packet(2, 8, start=3)


def test_patience_is_for_a_packet_that_has_buffers_to_go_to(rig: Rig) -> None:
    """With none waiting, or no buffer at hand, or no driver, there is nothing to wait for."""
    assert rig.delivery.patience is None
    rig.put(1, 3)
    rig.flush()
    assert rig.delivery.patience is None
    rig.driver.post(1)
    before = rig.delivery.progress
    rig.flush()
    assert rig.delivery.patience == FIRST_PATIENCE_S
    assert rig.delivery.progress != before
    rig.delivery.stop()
    assert rig.delivery.patience is None


def test_a_driver_that_goes_in_the_middle_of_a_packet(rig: Rig) -> None:
    """What it has got a part of is lost, and said to be; the rest is for the next driver."""
    rig.driver.post()
    rig.put(1, 2)
    rig.put(2, SIZE + 4)
    rig.put(3, 3)
    rig.flush()
    rig.driver.post(2)
    rig.delivery.flush()
    rig.delivery.stop()
    assert rig.ends == [(1, pb.OUTCOME_DELIVERED), (2, pb.OUTCOME_LOST)]
    assert (rig.delivery.lost, rig.delivery.waiting) == (1, 1)
    rig.drive()
    rig.driver.post()
    assert rig.flush() == packet(3, 3)


def test_a_driver_that_goes_between_packets_loses_none(rig: Rig) -> None:
    """A packet that was not begun is not lost."""
    rig.put(1, 5)
    rig.driver.post(4)
    rig.flush()
    rig.delivery.stop()
    rig.drive()
    rig.driver.post()
    assert rig.flush() == packet(1, 5)
    assert rig.delivery.lost == 0


def test_the_room_is_bounded_in_packets_and_events() -> None:
    """A full room fits nothing more; the longest packet fits an empty one."""
    delivery = Delivery(4)
    assert delivery.fits(PACKET_EVENTS_MAX)
    for number in range(4):
        assert delivery.fits(1)
        delivery.put(Packet(number, [bytes(8)]))
    assert not delivery.fits(1)
    large = Delivery(1000)
    large.put(Packet(1, [bytes(8)] * (1000 * EVENTS_PER_PACKET - 5)))
    assert large.fits(5)
    assert not large.fits(6)


def test_the_driver_is_notified_only_while_something_waits(rig: Rig) -> None:
    """Buffers can lie in the ring until there are events for them."""
    rig.delivery.flush()
    rig.driver.post(2)
    assert not rig.queue.should_notify()
    rig.put(1, 3)
    rig.delivery.flush()
    rig.driver.post(1)
    assert rig.queue.should_notify()


def test_one_interrupt_for_everything_that_was_written(rig: Rig) -> None:
    """It is asked for once, and only when something was given back."""
    rig.queue.enable_interrupts()
    rig.driver.post()
    rig.delivery.flush()
    assert not rig.delivery.needs_interrupt()
    rig.put(1, 3)
    rig.put(2, 3)
    rig.delivery.flush()
    assert rig.delivery.needs_interrupt()
    assert not rig.delivery.needs_interrupt()


def test_no_interrupt_for_who_wants_none(rig: Rig) -> None:
    """A driver that polls is left alone."""
    rig.queue.disable_interrupts()
    rig.driver.post()
    rig.put(1, 3)
    rig.delivery.flush()
    assert not rig.delivery.needs_interrupt()


Add = Callable[[DriverQueue], int | None]
MALFORMED: dict[str, Add] = {
    "too short": lambda queue: queue.add([], [(BUFFERS, 7)]),
    "too short in two pieces": lambda queue: queue.add([], [(BUFFERS, 4), (BUFFERS + 64, 3)]),
    "read-only": lambda queue: queue.add([(BUFFERS, 8)], []),
    "read-only in part": lambda queue: queue.add([(BUFFERS, 8)], [(BUFFERS + 64, 8)]),
}


@pytest.mark.parametrize("add", MALFORMED.values(), ids=MALFORMED)
def test_malformed_buffers_are_given_back_empty(rig: Rig, add: Add) -> None:
    """They are counted, nothing is written to them, and the next one serves (5.8.6.1)."""
    rig.memory.write(BUFFERS, b"\xaa" * 128)
    token = add(rig.queue)
    rig.put(1, 1)
    rig.delivery.flush()
    assert rig.queue.pop_used() == [(token, 0)]
    assert rig.memory.read(BUFFERS, 128) == b"\xaa" * 128
    assert rig.delivery.malformed == 1
    rig.driver.post(1)
    assert rig.flush() == packet(1, 1)
    rig.delivery.stop()
    assert rig.delivery.malformed == 1


def test_a_buffer_in_pieces(rig: Rig) -> None:
    """How the driver arranges a buffer is its affair (2.7.4.1): 8 bytes are written, no more."""
    rig.memory.write(BUFFERS, b"\xaa" * 128)
    token = rig.queue.add([], [(BUFFERS, 1), (BUFFERS + 32, 2), (BUFFERS + 64, 40)])
    rig.delivery.put(Packet(1, [b"12345678"]))
    rig.delivery.flush()
    assert rig.queue.pop_used() == [(token, 8)]
    assert rig.memory.read(BUFFERS, 2) == b"1\xaa"
    assert rig.memory.read(BUFFERS + 32, 3) == b"23\xaa"
    assert rig.memory.read(BUFFERS + 64, 6) == b"45678\xaa"


def test_a_ring_that_breaks_takes_no_packet_with_it(rig: Rig) -> None:
    """The packet waits for the next driver."""
    rig.put(1, 2)
    rig.memory.write(DRIVER_AREA + 2, (SIZE + 1).to_bytes(2, "little"))
    with pytest.raises(RingCorrupt):
        rig.delivery.flush()
    rig.delivery.stop()
    rig.drive()
    rig.driver.post()
    assert rig.flush() == packet(1, 2)


def test_a_driver_that_keeps_the_device_busy_is_left_for_later() -> None:
    """One flush takes a bounded number of chains; it says that there is more."""
    rig = Rig(size=1024)
    for _ in range(1024):
        rig.queue.add([], [(BUFFERS, 1)])
    assert rig.delivery.flush()
    assert not rig.delivery.flush()
    assert rig.delivery.malformed == 1024


@given(
    size=st.sampled_from([1, 2, 4, 16]),
    event_idx=st.booleans(),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    posts=st.lists(st.integers(0, 16), max_size=80),
)
@settings(max_examples=60, deadline=None)
def test_no_driver_however_it_posts_sees_anything_but_the_packets_in_order(
    size: int, lengths: list[int], posts: list[int], *, event_idx: bool
) -> None:
    """Any numbers of buffers at any time: nothing is lost, doubled, mixed, or stuck."""
    rig = Rig(size=size, event_idx=event_idx, room=1000)
    got: list[Event] = []
    for number, length in enumerate(lengths, start=1):
        rig.put(number, length)
    for post in posts:
        rig.driver.post(min(post, size - rig.driver.posted))
        got += rig.flush()
    while rig.delivery.waiting:
        # From now on the driver posts one at a time, waiting for each: only patience helps it.
        rig.driver.post(min(1, size - rig.driver.posted))
        rig.delivery.give_up_waiting()
        got += rig.flush()
    wanted = [event for number, one in enumerate(lengths, start=1) for event in packet(number, one)]
    assert got == wanted
    assert rig.delivery.events_delivered == len(wanted)
    assert [end[0] for end in rig.ends] == list(range(1, len(lengths) + 1))


@pytest.fixture
def memory() -> GuestMemory:
    """Make guest memory."""
    return make_memory()


def test_status_events_are_taken_and_given_back(memory: GuestMemory) -> None:
    """The first 8 bytes are the event, in any pieces; too short a buffer has none (5.8.6.1)."""
    config = QueueConfig(
        size=SIZE,
        descriptor_area=BASE,
        driver_area=DRIVER_AREA,
        device_area=DEVICE_AREA,
        event_idx=True,
        indirect=False,
    )
    queue, ring = DriverQueue(memory, config), StatusRing(memory, config)
    memory.write(BUFFERS, EVENT.pack(0x11, 1, 1) + b"more")
    memory.write(BUFFERS + 64, EVENT.pack(0x14, 0, -250))
    tokens = [
        queue.add([(BUFFERS, 12)], []),
        queue.add([(BUFFERS, 7)], []),
        queue.add([], [(BUFFERS, 8)]),
        queue.add([(BUFFERS + 64, 3), (BUFFERS + 67, 5)], [(BUFFERS + 128, 8)]),
    ]
    assert ring.take(3) == [(0x11, 1, 1)]
    assert ring.wake_me()
    assert ring.take(3) == [(0x14, 0, -250)]
    assert not ring.wake_me()
    assert queue.pop_used() == [(token, 0) for token in tokens]
    assert ring.malformed == 2


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([], None),
        ([(0, 7)], None),
        ([(0, 8), (64, 8)], [(0, 8)]),
        ([(0, 3), (64, 99)], [(0, 3), (64, 5)]),
    ],
)
def test_first_bytes(pieces: list[tuple[int, int]], found: list[tuple[int, int]] | None) -> None:
    """The pieces of the first 8 bytes of a chain."""
    assert first_bytes(pieces, 8) == found
