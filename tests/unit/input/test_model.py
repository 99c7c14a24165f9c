"""The input device behind its registers: configuration, queues, resets, faults, lights."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

import pytest

from tests.support.input_poster import EventPoster
from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.input.held_keys import Event, Holder
from virtmesh.input.injection import Offer
from virtmesh.input.kind import KIND
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.output import BACKLOG_MAX
from virtmesh.input.personality import load
from virtmesh.mmio.device import Attachment
from virtmesh.testing.scripted_driver import LocalPlane, ScriptDriver, signalled
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import (
    BadWidth,
    DriverViolation,
    NotWritable,
    RegisterError,
    WatcherTooSlow,
)
from virtmesh_common.evdev import code_of
from virtmesh_common.input import spec as layout
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ, ConfigSelect
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

PLAIN = int(Feature.VIRTIO_F_VERSION_1)
FEATURES = [PLAIN, PLAIN | int(Feature.VIRTIO_F_EVENT_IDX)]
KEY, A = code_of("KEY_A")
LED, CAPS = code_of("LED_CAPSL")
SIZE = 8
SYN = (0, 0, 0)
PRESS, RELEASE = (KEY, A, 1), (KEY, A, 0)


def slot(number: int) -> Event:
    """Choose a slot."""
    return (*code_of("ABS_MT_SLOT"), number)


def touch(number: int) -> Event:
    """Begin a touch, or end it with -1."""
    return (*code_of("ABS_MT_TRACKING_ID"), number)


class NotingPlane(LocalPlane):
    """Notes where the driver areas are, by queue."""

    def __init__(self, device: VirtioMmio) -> None:
        super().__init__(device)
        self.driver_areas: dict[int, int] = {}
        self._queue = 0

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Write at an offset."""
        if offset == mmio.QUEUE_SEL.offset:
            self._queue = value
        elif offset == mmio.QUEUE_DRIVER_LOW.offset:
            self.driver_areas[self._queue] = value
        await super().write(offset, value, width)


class Rig:
    """A device of 8 entries and 16 packets, and a driver of it."""

    def __init__(self, ram: Ram, doorbells: AttachmentEventfds, kind: str = "keyboard") -> None:
        options = InputOptions(kind, queue_size=SIZE, waiting=16)
        self.model = InputModel("dev", options, load(kind))
        self.device = VirtioMmio(self.model)
        self.device.attach(
            Attachment("test", ram.guest_memory, doorbells.queues, doorbells.config_call)
        )
        self.plane = NotingPlane(self.device)
        self.driver = ScriptDriver(self.plane, ram, doorbells)
        self.holder = Holder()
        self.reports: list[tuple[int, pb.Outcome.ValueType]] = []
        self.poster: EventPoster

    async def bring_up(self, features: int = PLAIN, post: int = SIZE) -> None:
        """Initialise the device, and post buffers before it is live."""
        driver = self.driver
        await driver.reset()
        await driver.negotiate(features)
        for index in (EVENTQ, STATUSQ):
            await driver.set_up_queue(index, SIZE)
        address = driver.ram.pages.allocate(SIZE * EVENT.size)
        memory = driver.ram.guest_memory
        self.poster = EventPoster(driver.queues[EVENTQ], memory, address, SIZE)
        self.poster.post(post)
        await driver.go()

    async def inject(self, *events: Event, refuse: bool = False) -> None:
        """Inject a packet, SYN_REPORT included, and report its end."""
        offer = Offer(
            self.holder, events, lambda *report: self.reports.append(report), report_end=True
        )
        await self.model.injection.offer(offer, refuse=refuse)

    async def read(self, select: int, subsel: int) -> bytes:
        """Ask for something, by registers."""
        await self.driver.put(layout.SELECT, select)
        await self.driver.put(layout.SUBSEL, subsel)
        size = await self.driver.get(layout.SIZE)
        reads = [self.driver.plane.read(layout.U.offset + place, 1) for place in range(size)]
        return bytes([await one for one in reads])

    async def order(self, *events: Event) -> None:
        """Send events to the device, and ring."""
        ram, queue = self.driver.ram, self.driver.queues[STATUSQ]
        page = ram.pages.allocate(len(events) * EVENT.size)
        for place, event in enumerate(events):
            address = page + place * EVENT.size
            ram.guest_memory.write(address, EVENT.pack(*event))
            queue.add([(address, EVENT.size)], [])
        await self.driver.ring(STATUSQ, by="mmio")
        queue.pop_used()
        ram.pages.release(page)


@pytest.fixture
async def bench() -> AsyncIterator[Rig]:
    """Make a bench."""
    doorbells = AttachmentEventfds.make(2)
    with Ram(1 << 20) as ram:
        bench = Rig(ram, doorbells)
        yield bench
        bench.device.begin_reset()
        await bench.device.reset_done()
        bench.device.detach()
        bench.device.close()
    doorbells.close()


# -- Configuration ----------------------------------------------------------------------------


async def test_the_configuration_by_registers(bench: Rig) -> None:
    """A driver selects, looks at the size, and reads bytes, half words and words."""
    await bench.bring_up()
    name = await bench.read(ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0)
    assert name == b"virtmesh keyboard"
    assert await bench.read(ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS, 0) == bytes.fromhex(
        "0600564d01000100"
    )
    assert await bench.driver.plane.read(layout.U.offset, 2) == 6
    assert await bench.driver.plane.read(layout.U.offset, 4) == 0x4D56_0006
    assert await bench.driver.plane.read(layout.U.offset + 124, 4) == 0
    assert await bench.driver.get(layout.SELECT) == ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS
    assert await bench.driver.get(layout.RESERVED) == 0


@pytest.mark.parametrize(
    ("select", "subsel"), [(0, 0), (1, 1), (3, 9), (0x11, 0), (0x11, 3), (0x12, 0), (255, 255)]
)
async def test_what_is_not_there_has_size_0(bench: Rig, select: int, subsel: int) -> None:
    """A device MUST set size to zero if it does not support the combination (5.8.5.2)."""
    await bench.bring_up()
    await bench.read(ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0)
    assert await bench.read(select, subsel) == b""
    assert await bench.driver.plane.read(layout.U.offset, 4) == 0


@pytest.mark.parametrize(
    ("offset", "width", "value", "error"),
    [
        (2, 1, 1, NotWritable),
        (3, 1, 1, NotWritable),
        (8, 4, 1, NotWritable),
        (135, 1, 1, NotWritable),
        (0, 2, 0x0101, BadWidth),
        (0, 4, 1, BadWidth),
        (136, 1, 1, RegisterError),
    ],
)
async def test_nothing_else_can_be_written(
    bench: Rig, offset: int, width: int, value: int, error: type[RegisterError]
) -> None:
    """Only select and subsel, a byte each (5.8.5.1); a refused write changes nothing."""
    await bench.bring_up()
    await bench.read(ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS, LED)
    with pytest.raises(error):
        await bench.driver.plane.write(0x100 + offset, value, width)
    assert await bench.driver.get(layout.SELECT) == ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS
    assert await bench.driver.get(layout.SUBSEL) == LED
    assert await bench.driver.get(layout.SIZE) == 1


async def test_nothing_is_selected_before_features_ok(bench: Rig) -> None:
    """A driver must not write the configuration before FEATURES_OK (3.1.1)."""
    await bench.driver.reset()
    with pytest.raises(DriverViolation):
        await bench.driver.put(layout.SELECT, 1)


async def test_a_reset_selects_nothing(bench: Rig) -> None:
    """The next driver finds select and subsel at 0."""
    await bench.bring_up()
    await bench.read(ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS, LED)
    await bench.driver.reset()
    found = [await bench.driver.get(one) for one in (layout.SELECT, layout.SUBSEL, layout.SIZE)]
    assert found == [0, 0, 0]


# -- Events -----------------------------------------------------------------------------------


@pytest.mark.parametrize("features", FEATURES)
async def test_an_event_interrupts_the_driver(bench: Rig, features: int) -> None:
    """A packet is written at once, whole, with one interrupt."""
    await bench.bring_up(features)
    bench.poster.queue.enable_interrupts()
    await bench.inject(PRESS, SYN)
    await signalled(bench.driver.doorbells.queues[EVENTQ].call)
    assert await bench.driver.get(mmio.INTERRUPT_STATUS) == mmio.INTERRUPT_USED_BUFFER
    assert bench.poster.take() == [PRESS, SYN]
    assert bench.model.interrupt.sequence == 1
    assert bench.reports == [(1, pb.OUTCOME_ACCEPTED), (1, pb.OUTCOME_DELIVERED)]


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("by", ["eventfd", "mmio", "rpc"])
async def test_buffers_that_come_late_are_used_when_the_driver_rings(
    bench: Rig, features: int, by: str
) -> None:
    """By every doorbell; events that came before the driver are kept for it."""
    await bench.inject(PRESS, SYN)
    await bench.bring_up(features, post=0)
    bench.poster.queue.enable_interrupts()
    bench.poster.post()
    await bench.driver.ring(EVENTQ, by=by)
    await signalled(bench.driver.doorbells.queues[EVENTQ].call)
    assert bench.poster.take() == [PRESS, SYN]
    assert bench.device.counters.notifications_eventfd == (by == "eventfd")
    assert bench.device.counters.requests == 2


async def test_a_doorbell_can_not_make_the_device_wait() -> None:
    """A driver may give one eventfd for both queues, and clear its O_NONBLOCK at any time."""
    doorbells = AttachmentEventfds.make(2)
    kick = doorbells.queues[EVENTQ].kick
    os.dup2(kick, doorbells.queues[STATUSQ].kick)
    with Ram(1 << 20) as ram:
        bench = Rig(ram, doorbells)
        await bench.bring_up(post=0)
        os.set_blocking(kick, True)
        os.eventfd_write(kick, 1)
        bench.poster.post()
        await bench.inject(PRESS, SYN)
        rescue = threading.Timer(5, os.eventfd_write, (kick, 1))
        rescue.start()
        for _ in range(3):
            await asyncio.sleep(0)
        rescue.cancel()
        assert bench.device.counters.notifications_eventfd == 1
        assert bench.poster.take() == [PRESS, SYN]
        await bench.driver.reset()
        bench.device.detach()
    doorbells.close()


async def test_a_reset_in_the_middle_of_a_packet_that_is_split(bench: Rig) -> None:
    """The packet is lost with its driver, and said to be; the next one goes to the next driver."""
    await bench.bring_up()
    await bench.inject(*[PRESS, RELEASE] * 5, SYN)
    await bench.inject(PRESS, SYN)
    assert len(bench.poster.take()) == SIZE
    await bench.driver.reset()
    assert bench.reports == [
        (1, pb.OUTCOME_ACCEPTED),
        (2, pb.OUTCOME_ACCEPTED),
        (1, pb.OUTCOME_LOST),
    ]
    await bench.bring_up()
    assert bench.poster.take() == [PRESS, SYN]
    assert bench.reports[3:] == [(2, pb.OUTCOME_DELIVERED)]
    delivery = bench.model.injection.delivery
    assert (delivery.delivered, delivery.lost, delivery.split) == (1, 1, 1)


async def test_touches_that_wait_keep_their_slot() -> None:
    """The next driver starts at slot 0: it is told the one that its predecessor knew."""
    doorbells = AttachmentEventfds.make(2)
    with Ram(1 << 20) as ram:
        bench = Rig(ram, doorbells, "multitouch")
        await bench.bring_up(post=4)
        await bench.inject(slot(3), touch(7), SYN)
        assert bench.poster.take() == [slot(3), touch(7), SYN]
        await bench.inject(touch(-1), SYN)
        await bench.inject(touch(8), SYN)
        await bench.bring_up(post=0)
        await bench.bring_up()
        await bench.inject(touch(-1), SYN)
        got = [slot(3), touch(-1), SYN, touch(8), SYN, slot(3), touch(-1), SYN]
        assert bench.poster.take() == got
        injection = bench.model.injection
        assert injection.events_accepted == injection.delivery.events_delivered == 11
        await bench.driver.reset()
        bench.device.detach()
    doorbells.close()


async def test_the_driver_can_reset_the_event_queue_alone(bench: Rig) -> None:
    """Nothing is delivered until it is set up again; the status queue goes on (2.6.1)."""
    await bench.bring_up(PLAIN | int(Feature.VIRTIO_F_RING_RESET))
    await bench.driver.put(mmio.QUEUE_SEL, EVENTQ)
    await bench.driver.put(mmio.QUEUE_RESET, 1)
    assert await bench.driver.get(mmio.QUEUE_RESET) == 0
    await bench.inject(PRESS, SYN)
    await bench.order((LED, CAPS, 1))
    assert bench.model.output.leds_on == (CAPS,)
    queue = await bench.driver.set_up_queue(EVENTQ, SIZE)
    address = bench.driver.ram.pages.allocate(SIZE * EVENT.size)
    poster = EventPoster(queue, bench.driver.ram.guest_memory, address, SIZE)
    poster.post()
    await bench.driver.ring(EVENTQ, by="mmio")
    assert poster.take() == [PRESS, SYN]


async def test_a_broken_event_queue_asks_for_a_reset(bench: Rig) -> None:
    """DEVICE_NEEDS_RESET, and no packet is lost by it."""
    await bench.bring_up(post=0)
    await bench.inject(PRESS, SYN)
    forge_index(bench, EVENTQ)
    await bench.driver.ring(EVENTQ, by="mmio")
    assert await bench.driver.get(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
    assert bench.device.state.fault.startswith("event queue: ")
    await bench.bring_up()
    assert bench.poster.take() == [PRESS, SYN]


async def test_a_broken_status_queue_asks_for_a_reset(bench: Rig) -> None:
    """DEVICE_NEEDS_RESET there too; events go on meanwhile."""
    await bench.bring_up()
    forge_index(bench, STATUSQ)
    await bench.driver.ring(STATUSQ, by="mmio")
    assert bench.device.state.fault.startswith("status queue: ")
    await bench.inject(PRESS, SYN)
    assert bench.poster.take() == [PRESS, SYN]


def forge_index(bench: Rig, index: int) -> None:
    """Move the index of a queue's driver area further than the queue is long."""
    area = bench.plane.driver_areas[index]
    bench.driver.ram.guest_memory.write(area + 2, (SIZE + 1).to_bytes(2, "little"))


async def test_a_driver_that_posts_too_few_is_not_waited_for_long(
    bench: Rig,
) -> None:
    """A timer splits the packet when no more buffers come."""
    await bench.bring_up(post=2)
    bench.poster.queue.enable_interrupts()
    await bench.inject(PRESS, RELEASE, SYN)
    assert bench.poster.take() == []
    await signalled(bench.driver.doorbells.queues[EVENTQ].call)
    assert bench.poster.take() == [PRESS, RELEASE]


# -- Injection --------------------------------------------------------------------------------


async def test_a_full_room_refuses_or_makes_wait(bench: Rig) -> None:
    """Who waits is served in turn, and nobody overtakes who waits."""
    for _ in range(16):
        await bench.inject(SYN)
    await bench.inject(SYN, refuse=True)
    assert bench.reports[-1] == (0, pb.OUTCOME_REFUSED)
    waiting = [asyncio.create_task(bench.inject(PRESS, SYN)) for _ in range(2)]
    await asyncio.sleep(0)
    assert bench.model.injection.delivery.waiting == 16
    await bench.bring_up(post=1)
    await waiting[0]
    await bench.inject(SYN, refuse=True)
    assert bench.reports[-1] == (0, pb.OUTCOME_REFUSED)
    assert not waiting[1].done()
    bench.poster.take()
    bench.poster.post()
    await bench.driver.ring(EVENTQ, by="mmio")
    await waiting[1]
    injection = bench.model.injection
    assert (injection.accepted, injection.refused) == (18, 2)


async def test_who_stops_waiting_is_not_accepted(bench: Rig) -> None:
    """A stream that ends while it waits leaves its turn to the next."""
    for _ in range(16):
        await bench.inject(SYN)
    first = asyncio.create_task(bench.inject(PRESS, SYN))
    second = asyncio.create_task(bench.inject(RELEASE, SYN))
    await asyncio.sleep(0)
    first.cancel()
    await bench.bring_up(post=1)
    await second
    assert first.cancelled()
    assert bench.model.injection.accepted == 17


async def test_releases_find_room_always(bench: Rig) -> None:
    """What a stream holds is released, whether or not the room is full."""
    await bench.inject(PRESS, SYN)
    for _ in range(15):
        await bench.inject(SYN)
    bench.model.injection.leave(bench.holder)
    assert bench.model.injection.delivery.waiting == 17
    await bench.bring_up()
    got = []
    while bench.model.injection.delivery.waiting:
        got += bench.poster.take()
        bench.poster.post()
        await bench.driver.ring(EVENTQ, by="mmio")
    got += bench.poster.take()
    assert got == [PRESS, SYN, *[SYN] * 15, RELEASE, SYN]


async def test_release_all_says_which_keys_were_held(bench: Rig) -> None:
    """The stream that held them releases nothing more."""
    await bench.bring_up()
    await bench.inject(PRESS, SYN)
    bench.poster.take()
    assert bench.model.injection.release_all() == [A]
    assert bench.poster.take() == [RELEASE, SYN]
    bench.model.injection.leave(bench.holder)
    assert bench.poster.take() == []


# -- Lights and other orders ------------------------------------------------------------------


async def test_lights_reach_watchers(bench: Rig) -> None:
    """One packet for each buffer, numbered, with the lights that are on then."""
    await bench.bring_up()
    with bench.model.output.watching() as watcher:
        await bench.order((LED, CAPS, 1), (LED, 0, 1), (LED, CAPS, 0), (0x14, 0, 250))
        sent = [await watcher.read() for _ in range(4)]
    assert [(one.sequence, one.leds_on) for one in sent if one] == [
        (1, (CAPS,)),
        (2, (0, CAPS)),
        (3, (0,)),
        (4, (0,)),
    ]
    assert bench.model.output.events == 4


async def test_what_the_device_does_not_have_goes_no_further(bench: Rig) -> None:
    """Lights that aren't there, types that only the device sends, and nonsense are counted."""
    await bench.bring_up()
    await bench.order((LED, 9, 1), (KEY, A, 1), SYN, (0xFFFF, 0xFFFF, -1))
    output = bench.model.output
    assert (output.packets, output.events, output.unknown, output.leds_on) == (0, 0, 4, ())


async def test_the_lights_go_out_with_the_driver(bench: Rig) -> None:
    """Watchers see it as a packet."""
    await bench.bring_up()
    await bench.order((LED, CAPS, 1))
    with bench.model.output.watching() as watcher:
        await bench.driver.reset()
        sent = await watcher.read()
    assert sent
    assert (sent.sequence, sent.events, sent.leds_on) == (2, ((LED, CAPS, 0),), ())


async def test_a_watcher_that_does_not_keep_up_is_cut_off(bench: Rig) -> None:
    """It gets what it has room for, then the error; others go on."""
    await bench.bring_up()
    output = bench.model.output
    with output.watching() as slow, output.watching() as quick:
        for _ in range(BACKLOG_MAX + 2):
            await bench.order((LED, CAPS, 1))
            await quick.read()
        for number in range(1, BACKLOG_MAX + 1):
            sent = await slow.read()
            assert sent
            assert sent.sequence == number
        with pytest.raises(WatcherTooSlow) as caught:
            await slow.read()
    assert caught.value.metadata == {"sequence": str(BACKLOG_MAX)}


async def test_metrics(bench: Rig) -> None:
    """Every counter has a metric."""
    await bench.bring_up()
    await bench.inject(PRESS, SYN)
    await bench.order((LED, CAPS, 1), SYN)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in KIND.collect(bench.model)
        for sample in metric.samples
    }
    delivery = "virtmesh_input_delivery_duration_seconds"
    times = {name: value for name, value in found.items() if name[0].startswith(delivery)}
    assert times[f"{delivery}_bucket", "+Inf"] == times[f"{delivery}_count",] == 1
    assert {name: value for name, value in found.items() if name not in times} == {
        ("virtmesh_input_packets_accepted_total",): 1,
        ("virtmesh_input_packets_delivered_total",): 1,
        ("virtmesh_input_packets_refused_total",): 0,
        ("virtmesh_input_packets_lost_total",): 0,
        ("virtmesh_input_packets_split_total",): 0,
        ("virtmesh_input_events_accepted_total",): 2,
        ("virtmesh_input_events_delivered_total",): 2,
        ("virtmesh_input_output_events_total", "obeyed"): 1,
        ("virtmesh_input_output_events_total", "unknown"): 1,
        ("virtmesh_input_malformed_total", "event"): 0,
        ("virtmesh_input_malformed_total", "status"): 0,
        ("virtmesh_input_waiting_packets",): 0,
        ("virtmesh_input_waiting_events",): 0,
        ("virtmesh_input_led", "LED_NUML"): 0,
        ("virtmesh_input_led", "LED_CAPSL"): 1,
        ("virtmesh_input_led", "LED_SCROLLL"): 0,
    }
