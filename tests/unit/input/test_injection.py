"""Packets on real rings: whole, in parts where the queue is smaller, and drivers that go."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtmesh_native import DriverQueue, Interrupt, QueueConfig

from tests.support.input_poster import Event, EventPoster
from tests.support.native_rig import BASE, make_memory
from virtmesh.input.event_buffers import FIRST_PATIENCE_S, PATIENCE_S
from virtmesh.input.held_keys import HeldKeys, InjectorState
from virtmesh.input.injection import EVENTS_PER_PACKET, PACKET_EVENTS_MAX, Injection, Offer
from virtmesh.virtio.queue_device import QueueCounters, ServedQueue
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import RingCorrupt
from virtmesh_common.evdev import TYPES
from virtmesh_common.input.spec import EVENT, EVENTQ

SIZE = 16
DRIVER_AREA = BASE + 0x8000
DEVICE_AREA = BASE + 0x10000
BUFFERS = BASE + 0x20000
REL = TYPES["EV_REL"]


def make_injection(room: int) -> Injection:
    """Make an injection whose event queue is looked at only when a test says so."""
    return Injection(HeldKeys(has_slots=False), room, lambda: None)


class Rig:
    """An injection, a driver that does as it is told, and word of what became of packets."""

    def __init__(self, size: int = SIZE, *, event_idx: bool = True, room: int = 64) -> None:
        self.memory = make_memory()
        self.interrupt = Interrupt()
        self.counters = QueueCounters()
        self.injection = make_injection(room)
        self.injector = InjectorState()
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
        self.served = ServedQueue(EVENTQ, self.memory, config, self.interrupt, self.counters)
        self.served.collect_interrupts()
        self.injection.start(self.served, self.size)

    async def put(self, number: int, length: int) -> None:
        """Have a packet accepted whose events say which packet and place they are."""
        await self.inject(packet(number, length))

    async def inject(self, events: list[Event]) -> None:
        """Have a packet accepted, and note its end."""
        offer = Offer(self.injector, events, self._report, report_end=True)
        await self.injection.offer(offer, refuse=False)

    def flush(self) -> list[Event]:
        """Deliver what can be delivered; return what the driver got."""
        self.injection.deliver()
        return self.driver.take()

    def interrupts(self) -> bool:
        """Interrupt the driver if it wants that; return whether it did."""
        before = self.interrupt.sequence
        self.served.signal()
        self.served.collect_interrupts()
        return self.interrupt.sequence != before

    def _report(self, number: int, outcome: pb.Outcome.ValueType) -> None:
        """Note what became of a packet."""
        if outcome != pb.OUTCOME_ACCEPTED:
            self.ends.append((number, outcome))


def packet(number: int, length: int, start: int = 0) -> list[Event]:
    """Return the events of a packet."""
    return [(REL, number, place) for place in range(start, length)]


@pytest.fixture(params=[True, False], ids=["event-idx", "flags"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Make a rig, with and without VIRTIO_F_EVENT_IDX."""
    return Rig(event_idx=request.param)


async def test_packets_wait_for_a_driver_and_come_in_order(rig: Rig) -> None:
    """All of them, one after the other, whole, each with its end."""
    for number in range(1, 5):
        await rig.put(number, 3)
    assert rig.flush() == []
    assert rig.injection.waiting == 4
    rig.driver.post()
    assert rig.flush() == [event for number in range(1, 5) for event in packet(number, 3)]
    assert rig.ends == [(number, pb.OUTCOME_DELIVERED) for number in range(1, 5)]
    assert (rig.injection.delivered, rig.injection.events_delivered) == (4, 12)


async def test_a_packet_waits_for_enough_buffers(rig: Rig) -> None:
    """Nothing of it is written before all of it can be; a shorter one doesn't overtake it."""
    rig.driver.post(4)
    await rig.put(1, 5)
    await rig.put(2, 1)
    assert rig.flush() == []
    rig.driver.post(1)
    assert rig.flush() == packet(1, 5)
    rig.driver.post(1)
    assert rig.flush() == packet(2, 1)
    assert rig.injection.split == 0


async def test_a_packet_longer_than_the_queue_comes_in_parts(rig: Rig) -> None:
    """As many events as there are buffers, in order, and no other packet in between."""
    rig.driver.post()
    await rig.put(1, 2 * SIZE + 3)
    await rig.put(2, 2)
    got = []
    while rig.injection.waiting:
        got += rig.flush()
        rig.driver.post()
    assert got == [*packet(1, 2 * SIZE + 3), *packet(2, 2)]
    assert rig.ends == [(1, pb.OUTCOME_DELIVERED), (2, pb.OUTCOME_DELIVERED)]
    assert (rig.injection.split, rig.injection.delivered) == (1, 2)


async def test_a_driver_that_never_posts_enough(rig: Rig) -> None:
    """After a short wait its four buffers are taken for all that it has; from then on, at once."""
    rig.driver.post(4)
    await rig.put(1, 6)
    assert rig.flush() == []
    assert rig.injection.patience == FIRST_PATIENCE_S
    rig.injection.give_up_waiting()
    assert rig.flush() == packet(1, 4)
    rig.driver.post(4)
    assert rig.flush() == packet(1, 6, start=4)
    await rig.put(2, 5)
    rig.driver.post(2)
    assert rig.flush() == packet(2, 4)
    rig.driver.post(4)
    assert rig.flush() == packet(2, 5, start=4)
    await rig.put(3, 4)
    assert rig.flush() == []
    rig.driver.post(1)
    assert rig.flush() == packet(3, 4)


async def test_a_driver_that_posts_fewer_than_before(rig: Rig) -> None:
    """It is given longer, since it may just be stopped; then it gets parts as well."""
    rig.driver.post(8)
    await rig.put(1, 8)
    assert rig.flush() == packet(1, 8)
    rig.driver.post(3)
    await rig.put(2, 8)
    assert rig.flush() == []
    assert rig.injection.patience == PATIENCE_S
    rig.injection.give_up_waiting()
    assert rig.flush() == packet(2, 3)
    rig.driver.post()
    assert rig.flush() == packet(2, 8, start=3)


async def test_patience_is_for_a_packet_that_has_buffers_to_go_to(rig: Rig) -> None:
    """With none waiting, or no buffer at hand, or no driver, there is nothing to wait for."""
    assert rig.injection.patience is None
    await rig.put(1, 3)
    rig.flush()
    assert rig.injection.patience is None
    rig.driver.post(1)
    before = rig.injection.progress
    rig.flush()
    assert rig.injection.patience == FIRST_PATIENCE_S
    assert rig.injection.progress != before
    rig.injection.stop()
    assert rig.injection.patience is None


async def test_a_driver_that_goes_in_the_middle_of_a_packet(rig: Rig) -> None:
    """What it has got a part of is lost, and said to be; the rest is for the next driver."""
    rig.driver.post()
    await rig.put(1, 2)
    await rig.put(2, SIZE + 4)
    await rig.put(3, 3)
    rig.flush()
    rig.driver.post(2)
    rig.injection.deliver()
    rig.injection.stop()
    assert rig.ends == [(1, pb.OUTCOME_DELIVERED), (2, pb.OUTCOME_LOST)]
    assert (rig.injection.lost, rig.injection.waiting) == (1, 1)
    rig.drive()
    rig.driver.post()
    assert rig.flush() == packet(3, 3)


async def test_a_driver_that_goes_between_packets_loses_none(rig: Rig) -> None:
    """A packet that was not begun is not lost."""
    await rig.put(1, 5)
    rig.driver.post(4)
    rig.flush()
    rig.injection.stop()
    rig.drive()
    rig.driver.post()
    assert rig.flush() == packet(1, 5)
    assert rig.injection.lost == 0


async def test_the_room_is_bounded_in_packets_and_events() -> None:
    """A full room fits nothing more; the longest packet fits an empty one."""
    small = Rig(room=4)
    assert small.injection.fits(PACKET_EVENTS_MAX)
    for number in range(4):
        assert small.injection.fits(1)
        await small.put(number, 1)
    assert not small.injection.fits(1)
    large = Rig(room=1000)
    await large.put(1, 1000 * EVENTS_PER_PACKET - 5)
    assert large.injection.fits(5)
    assert not large.injection.fits(6)


async def test_the_driver_is_notified_only_while_something_waits(rig: Rig) -> None:
    """Buffers can lie in the ring until there are events for them."""
    rig.injection.deliver()
    rig.driver.post(2)
    assert not rig.queue.should_notify()
    await rig.put(1, 3)
    rig.injection.deliver()
    rig.driver.post(1)
    assert rig.queue.should_notify()


async def test_one_interrupt_for_everything_that_was_written(rig: Rig) -> None:
    """It is asked for once, and only when something was given back."""
    rig.queue.enable_interrupts()
    rig.driver.post()
    rig.injection.deliver()
    assert not rig.interrupts()
    await rig.put(1, 3)
    await rig.put(2, 3)
    rig.injection.deliver()
    assert rig.interrupts()
    assert not rig.interrupts()


async def test_no_interrupt_for_who_wants_none(rig: Rig) -> None:
    """A driver that polls is left alone."""
    rig.queue.disable_interrupts()
    rig.driver.post()
    await rig.put(1, 3)
    rig.injection.deliver()
    assert not rig.interrupts()


Add = Callable[[DriverQueue], int | None]
MALFORMED: dict[str, Add] = {
    "too short": lambda queue: queue.add([], [(BUFFERS, 7)]),
    "too short in two pieces": lambda queue: queue.add([], [(BUFFERS, 4), (BUFFERS + 64, 3)]),
    "read-only": lambda queue: queue.add([(BUFFERS, 8)], []),
    "read-only in part": lambda queue: queue.add([(BUFFERS, 8)], [(BUFFERS + 64, 8)]),
}


@pytest.mark.parametrize("add", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_buffers_are_given_back_empty(rig: Rig, add: Add) -> None:
    """They are counted, nothing is written to them, and the next one serves (5.8.6.1)."""
    rig.memory.write(BUFFERS, b"\xaa" * 128)
    token = add(rig.queue)
    await rig.put(1, 1)
    rig.injection.deliver()
    assert rig.queue.pop_used() == [(token, 0)]
    assert rig.memory.read(BUFFERS, 128) == b"\xaa" * 128
    assert rig.counters.malformed == 1
    rig.driver.post(1)
    assert rig.flush() == packet(1, 1)
    rig.injection.stop()
    assert rig.counters.malformed == 1


async def test_a_buffer_in_pieces(rig: Rig) -> None:
    """How the driver arranges a buffer is its affair (2.7.4.1): 8 bytes are written, no more."""
    rig.memory.write(BUFFERS, b"\xaa" * 128)
    token = rig.queue.add([], [(BUFFERS, 1), (BUFFERS + 32, 2), (BUFFERS + 64, 40)])
    await rig.inject([EVENT.unpack(b"12345678")])
    rig.injection.deliver()
    assert rig.queue.pop_used() == [(token, 8)]
    assert rig.memory.read(BUFFERS, 2) == b"1\xaa"
    assert rig.memory.read(BUFFERS + 32, 3) == b"23\xaa"
    assert rig.memory.read(BUFFERS + 64, 6) == b"45678\xaa"


async def test_a_ring_that_breaks_takes_no_packet_with_it(rig: Rig) -> None:
    """The packet waits for the next driver."""
    await rig.put(1, 2)
    rig.memory.write(DRIVER_AREA + 2, (SIZE + 1).to_bytes(2, "little"))
    with pytest.raises(RingCorrupt):
        rig.injection.deliver()
    rig.injection.stop()
    rig.drive()
    rig.driver.post()
    assert rig.flush() == packet(1, 2)


async def test_a_driver_that_keeps_the_device_busy_is_left_for_later() -> None:
    """One flush takes a bounded number of chains; it says that there is more."""
    rig = Rig(size=1024)
    for _ in range(1024):
        rig.queue.add([], [(BUFFERS, 1)])
    assert rig.injection.deliver()
    assert not rig.injection.deliver()
    assert rig.counters.malformed == 1024


@given(
    size=st.sampled_from([1, 2, 4, 16]),
    event_idx=st.booleans(),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    posts=st.lists(st.integers(0, 16), max_size=80),
)
@settings(max_examples=60, deadline=None)
async def test_no_driver_however_it_posts_sees_anything_but_the_packets_in_order(
    size: int, lengths: list[int], posts: list[int], *, event_idx: bool
) -> None:
    """Any numbers of buffers at any time: nothing is lost, doubled, mixed, or stuck."""
    rig = Rig(size=size, event_idx=event_idx, room=1000)
    got: list[Event] = []
    for number, length in enumerate(lengths, start=1):
        await rig.put(number, length)
    for post in posts:
        rig.driver.post(min(post, size - rig.driver.posted))
        got += rig.flush()
    while rig.injection.waiting:
        # From now on the driver posts one at a time, waiting for each: only patience helps it.
        rig.driver.post(min(1, size - rig.driver.posted))
        rig.injection.give_up_waiting()
        got += rig.flush()
    wanted = [event for number, one in enumerate(lengths, start=1) for event in packet(number, one)]
    assert got == wanted
    assert rig.injection.events_delivered == len(wanted)
    assert [end[0] for end in rig.ends] == list(range(1, len(lengths) + 1))
