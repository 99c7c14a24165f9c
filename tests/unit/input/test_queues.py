"""The event queue behind its registers: doorbells, resets, faults; and the metrics."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from tests.support.input_device_rig import (
    CAPS,
    LED,
    PLAIN,
    PRESS,
    RELEASE,
    SIZE,
    SYN,
    InputDeviceRig,
)
from tests.support.input_poster import EventPoster
from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.input.held_keys import Event
from virtmesh.input.kind import KIND
from virtmesh.testing.scripted_driver import signalled
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.evdev import code_of
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

FEATURES = [PLAIN, PLAIN | int(Feature.VIRTIO_F_EVENT_IDX)]


def slot(number: int) -> Event:
    """Choose a slot."""
    return (*code_of("ABS_MT_SLOT"), number)


def touch(number: int) -> Event:
    """Begin a touch, or end it with -1."""
    return (*code_of("ABS_MT_TRACKING_ID"), number)


@pytest.mark.parametrize("features", FEATURES)
async def test_an_event_interrupts_the_driver(keyboard: InputDeviceRig, features: int) -> None:
    """A packet is written at once, whole, with one interrupt."""
    await keyboard.bring_up(features)
    keyboard.poster.queue.enable_interrupts()
    await keyboard.inject(PRESS, SYN)
    await signalled(keyboard.driver.doorbells.queues[EVENTQ].call)
    assert await keyboard.driver.get(mmio.INTERRUPT_STATUS) == mmio.INTERRUPT_USED_BUFFER
    assert keyboard.poster.take() == [PRESS, SYN]
    assert keyboard.model.interrupt.sequence == 1
    assert keyboard.reports == [(1, pb.OUTCOME_ACCEPTED), (1, pb.OUTCOME_DELIVERED)]


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("by", ["eventfd", "mmio", "rpc"])
async def test_buffers_that_come_late_are_used_when_the_driver_rings(
    keyboard: InputDeviceRig, features: int, by: str
) -> None:
    """By every doorbell; events that came before the driver are kept for it."""
    await keyboard.inject(PRESS, SYN)
    await keyboard.bring_up(features, post=0)
    keyboard.poster.queue.enable_interrupts()
    keyboard.poster.post()
    await keyboard.driver.ring(EVENTQ, by=by)
    await signalled(keyboard.driver.doorbells.queues[EVENTQ].call)
    assert keyboard.poster.take() == [PRESS, SYN]
    assert keyboard.device.counters.notifications_eventfd == (by == "eventfd")
    assert keyboard.device.counters.requests == 2


async def test_a_doorbell_can_not_make_the_device_wait() -> None:
    """A driver may give one eventfd for both queues, and clear its O_NONBLOCK at any time."""
    doorbells = AttachmentEventfds.make(2)
    kick = doorbells.queues[EVENTQ].kick
    os.dup2(kick, doorbells.queues[STATUSQ].kick)
    with Ram(1 << 20) as ram:
        rig = InputDeviceRig(ram, doorbells)
        await rig.bring_up(post=0)
        os.set_blocking(kick, True)
        os.eventfd_write(kick, 1)
        rig.poster.post()
        await rig.inject(PRESS, SYN)
        rescue = threading.Timer(5, os.eventfd_write, (kick, 1))
        rescue.start()
        for _ in range(3):
            await asyncio.sleep(0)
        rescue.cancel()
        assert rig.device.counters.notifications_eventfd == 1
        assert rig.poster.take() == [PRESS, SYN]
        await rig.driver.reset()
        rig.device.detach()
    doorbells.close()


async def test_a_reset_in_the_middle_of_a_packet_that_is_split(keyboard: InputDeviceRig) -> None:
    """The packet is lost with its driver, and said to be; the next one goes to the next driver."""
    await keyboard.bring_up()
    await keyboard.inject(*[PRESS, RELEASE] * 5, SYN)
    await keyboard.inject(PRESS, SYN)
    assert len(keyboard.poster.take()) == SIZE
    await keyboard.driver.reset()
    assert keyboard.reports == [
        (1, pb.OUTCOME_ACCEPTED),
        (2, pb.OUTCOME_ACCEPTED),
        (1, pb.OUTCOME_LOST),
    ]
    await keyboard.bring_up()
    assert keyboard.poster.take() == [PRESS, SYN]
    assert keyboard.reports[3:] == [(2, pb.OUTCOME_DELIVERED)]
    injection = keyboard.model.injection
    assert (injection.delivered, injection.lost, injection.split) == (1, 1, 1)


async def test_touches_that_wait_keep_their_slot() -> None:
    """The next driver starts at slot 0: it is told the one that its predecessor knew."""
    doorbells = AttachmentEventfds.make(2)
    with Ram(1 << 20) as ram:
        rig = InputDeviceRig(ram, doorbells, "multitouch")
        await rig.bring_up(post=4)
        await rig.inject(slot(3), touch(7), SYN)
        assert rig.poster.take() == [slot(3), touch(7), SYN]
        await rig.inject(touch(-1), SYN)
        await rig.inject(touch(8), SYN)
        await rig.bring_up(post=0)
        await rig.bring_up()
        await rig.inject(touch(-1), SYN)
        got = [slot(3), touch(-1), SYN, touch(8), SYN, slot(3), touch(-1), SYN]
        assert rig.poster.take() == got
        injection = rig.model.injection
        assert injection.events_accepted == injection.events_delivered == 11
        await rig.driver.reset()
        rig.device.detach()
    doorbells.close()


async def test_the_driver_can_reset_the_event_queue_alone(keyboard: InputDeviceRig) -> None:
    """Nothing is delivered until it is set up again; the status queue goes on (2.6.1)."""
    await keyboard.bring_up(PLAIN | int(Feature.VIRTIO_F_RING_RESET))
    await keyboard.driver.put(mmio.QUEUE_SEL, EVENTQ)
    await keyboard.driver.put(mmio.QUEUE_RESET, 1)
    assert await keyboard.driver.get(mmio.QUEUE_RESET) == 0
    await keyboard.inject(PRESS, SYN)
    await keyboard.order((LED, CAPS, 1))
    assert keyboard.model.output.leds_on == (CAPS,)
    queue = await keyboard.driver.set_up_queue(EVENTQ, SIZE)
    address = keyboard.driver.ram.pages.allocate(SIZE * EVENT.size)
    poster = EventPoster(queue, keyboard.driver.ram.guest_memory, address, SIZE)
    poster.post()
    await keyboard.driver.ring(EVENTQ, by="mmio")
    assert poster.take() == [PRESS, SYN]


async def test_a_broken_event_queue_asks_for_a_reset(keyboard: InputDeviceRig) -> None:
    """DEVICE_NEEDS_RESET, and no packet is lost by it."""
    await keyboard.bring_up(post=0)
    await keyboard.inject(PRESS, SYN)
    forge_index(keyboard, EVENTQ)
    await keyboard.driver.ring(EVENTQ, by="mmio")
    assert await keyboard.driver.get(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
    assert keyboard.device.state.fault.startswith("event queue: ")
    await keyboard.bring_up()
    assert keyboard.poster.take() == [PRESS, SYN]


async def test_a_broken_status_queue_asks_for_a_reset(keyboard: InputDeviceRig) -> None:
    """DEVICE_NEEDS_RESET there too; events go on meanwhile."""
    await keyboard.bring_up()
    forge_index(keyboard, STATUSQ)
    await keyboard.driver.ring(STATUSQ, by="mmio")
    assert keyboard.device.state.fault.startswith("status queue: ")
    await keyboard.inject(PRESS, SYN)
    assert keyboard.poster.take() == [PRESS, SYN]


def forge_index(keyboard: InputDeviceRig, index: int) -> None:
    """Move the index of a queue's driver area further than the queue is long."""
    area = keyboard.plane.driver_areas[index]
    keyboard.driver.ram.guest_memory.write(area + 2, (SIZE + 1).to_bytes(2, "little"))


async def test_a_driver_that_posts_too_few_is_not_waited_for_long(
    keyboard: InputDeviceRig,
) -> None:
    """A timer splits the packet when no more buffers come."""
    await keyboard.bring_up(post=2)
    keyboard.poster.queue.enable_interrupts()
    await keyboard.inject(PRESS, RELEASE, SYN)
    assert keyboard.poster.take() == []
    await signalled(keyboard.driver.doorbells.queues[EVENTQ].call)
    assert keyboard.poster.take() == [PRESS, RELEASE]


async def test_metrics(keyboard: InputDeviceRig) -> None:
    """Every counter has a metric."""
    await keyboard.bring_up()
    await keyboard.inject(PRESS, SYN)
    await keyboard.order((LED, CAPS, 1), SYN)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in KIND.collect(keyboard.model)
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
