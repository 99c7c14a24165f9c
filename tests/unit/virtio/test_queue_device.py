"""The base of device models, shown with an entropy device: real rings, registers, and driver."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from virtmesh_native import Recorder

from tests.support.entropy import FILL_MAX, QUEUE_SIZE, REQUESTQ, EntropyDriver, EntropyModel
from tests.support.recorded import rows
from virtmesh.attach.guest_ram import Ram
from virtmesh.machine import DoorbellKind
from virtmesh.testing.local_bus import LocalBus
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.queue_device import Chain
from virtmesh_common.errors import DriverViolation
from virtmesh_common.registers import Access, Register
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import TRANSPORT_FEATURES, Feature
from virtmesh_common.virtio.status import Status

SPLIT = int(Feature.VIRTIO_F_RING_PACKED)
PLAIN = int(TRANSPORT_FEATURES & ~Feature.VIRTIO_F_VERSION_1)
NO_EVENT_IDX = int(Feature.VIRTIO_F_EVENT_IDX)
FORMATS = [0, SPLIT, NO_EVENT_IDX, SPLIT | NO_EVENT_IDX, PLAIN]
"""Features that the driver does without: packed and split rings, with VIRTIO_F_EVENT_IDX or not."""
FORMAT_NAMES = ["packed", "split", "packed flags", "split flags", "plain"]
LENGTH = 8


class HoldingModel(EntropyModel):
    """Holds requests back until it is told to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Chain] = []
        self.stopped: list[int] = []

    def take(self, chain: Chain) -> None:
        """Hold a chain back."""
        self.held.append(chain)

    def queue_stopped(self, index: int) -> None:
        """Note the queue; the chains stay here, to show that they are of no use any more."""
        self.stopped.append(index)


@asynccontextmanager
async def driving(
    model: EntropyModel, *, refused: int = 0, doorbell: DoorbellKind = DoorbellKind.EVENTFD
) -> AsyncIterator[EntropyDriver]:
    """Start a driver of a model."""
    with Ram(1 << 20) as ram:
        bus = LocalBus(VirtioMmio(model), ram, doorbell)
        driver = EntropyDriver(bus, refused=refused)
        bus.on_interrupt(driver.handle_irq)
        await driver.start()
        yield driver
        await driver.close()
        await bus.close()


def add(driver: EntropyDriver, length: int = LENGTH) -> asyncio.Future[bytes]:
    """Add a request without ringing."""
    address = driver.bus.ram.pages.allocate(length)
    return driver.add([], [(address, length)], address)


async def ring_by_register(driver: EntropyDriver) -> None:
    """Write QueueNotify: the device looks before this returns."""
    await driver.bus.write(mmio.QUEUE_NOTIFY, REQUESTQ)


# -- Requests ---------------------------------------------------------------------------------


@pytest.mark.parametrize("doorbell", list(DoorbellKind))
@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_a_driver_reads_bytes(refused: int, doorbell: DoorbellKind) -> None:
    """On each format of rings, rung in each way, more often than the queue is long."""
    model = EntropyModel()
    async with driving(model, refused=refused, doorbell=doorbell) as driver:
        answers = [await driver.read(32) for _ in range(2 * QUEUE_SIZE + 3)]
    assert [len(one) for one in answers] == [32] * len(answers)
    assert len(set(answers)) == len(answers)
    assert model.requests == len(answers)
    assert (model.notifications == len(answers)) == (doorbell is DoorbellKind.EVENTFD)


async def test_one_request_may_have_many_buffers() -> None:
    """They are filled in order; a request beyond the limit gets less than it has room for."""
    async with driving(EntropyModel()) as driver:
        assert len(await driver.read(3, 1, 9)) == 13
        assert len(await driver.read(FILL_MAX - 1, 100)) == FILL_MAX


@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_a_malformed_chain_is_given_back_unused(refused: int) -> None:
    """It is counted, nothing is written to it, and the next request is served as ever."""
    model = EntropyModel()
    async with driving(model, refused=refused) as driver:
        address = driver.bus.ram.pages.allocate(16)
        bad = driver.add([(address + 8, 8)], [(address, 8)], address)
        driver.notify(driver.queue)
        assert await bad == b""
        assert len(await driver.read(8)) == 8
        assert not await driver.bus.read(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
    assert (model.counters[REQUESTQ].malformed, model.requests) == (1, 1)


async def test_requests_are_recorded() -> None:
    """Between the chain's POP and PUSH: the type, what the model said, and the outcome."""
    model = EntropyModel()
    model.interrupt.recorder = Recorder(256)
    async with driving(model) as driver:
        await driver.read(24)
        events = rows(model.interrupt.recorder)
    (token,) = [row[3] for row in events if row[0] == "POP"]
    assert [row for row in events if row[0] in {"POP", "PUSH"} or "REQUEST" in row[0]] == [
        ("POP", 0, 0, token, 1, 24),
        ("REQUEST_START", 0, 0, token, 0, 24),
        ("REQUEST_END", 0, 0, token, 0, 0),
        ("PUSH", 0, 0, token, 24, 0),
    ]
    assert ("NOTIFY", 1, 0, 0, 0, 0) in events


# -- Turns of the event loop, notifications, interrupts ---------------------------------------


@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_a_busy_queue_leaves_turns_to_others(refused: int) -> None:
    """So many chains in each turn of the loop, until none is left; no further ring is needed."""
    model = EntropyModel()
    model.chains_per_turn = 2
    async with driving(model, refused=refused, doorbell=DoorbellKind.MMIO) as driver:
        answers = [add(driver) for _ in range(5)]
        await ring_by_register(driver)
        progress = [model.requests]
        while model.requests < len(answers):
            await asyncio.sleep(0)
            progress.append(model.requests)
        assert progress == [2, 4, 5]
        await asyncio.gather(*answers)
        assert len(await driver.read(8)) == 8


async def test_rings_do_not_make_turns_longer() -> None:
    """A driver that rings again and again while a look is due gets no more than the others."""
    model = EntropyModel()
    model.chains_per_turn = 2
    async with driving(model, doorbell=DoorbellKind.MMIO) as driver:
        answers = [add(driver) for _ in range(6)]
        for _ in range(10):
            await ring_by_register(driver)
        assert model.requests == 2
        await asyncio.gather(*answers)


@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_no_notification_is_asked_for_while_a_look_is_due(refused: int) -> None:
    """The device looks by itself; once it has found nothing, it asks again."""
    model = EntropyModel()
    model.chains_per_turn = 1
    async with driving(model, refused=refused, doorbell=DoorbellKind.MMIO) as driver:
        first = add(driver)
        await ring_by_register(driver)
        second = add(driver)
        driver.notify(driver.queue)
        assert driver.queue.notifications_suppressed == 1
        await asyncio.gather(first, second)
        assert len(await driver.read(8)) == 8
        assert driver.queue.notifications == 1


@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_one_interrupt_for_many_requests(refused: int) -> None:
    """And none while the driver asks for none."""
    model = EntropyModel()
    async with driving(model, refused=refused, doorbell=DoorbellKind.MMIO) as driver:
        answers = [add(driver) for _ in range(5)]
        before = model.interrupt.sequence
        await ring_by_register(driver)
        assert model.interrupt.sequence == before + 1
        await asyncio.gather(*answers)
        driver.queue.disable_interrupts()
        answer = add(driver)
        await ring_by_register(driver)
        assert model.interrupt.sequence == before + 1
        assert driver.queue.can_pop()
        driver.handle_irq(mmio.INTERRUPT_USED_BUFFER)
        assert len(await answer) == LENGTH


async def test_a_request_can_be_answered_later() -> None:
    """In any order, each with an interrupt of its own."""
    model = HoldingModel()
    async with driving(model, doorbell=DoorbellKind.MMIO) as driver:
        answers = [add(driver) for _ in range(2)]
        await ring_by_register(driver)
        model.held[1].push(model.held[1].write(b"second"))
        assert await answers[1] == b"second"
        model.held[0].push(model.held[0].write(b"first"))
        assert await answers[0] == b"first"
    assert model.requests == 2


# -- Resets and faults ------------------------------------------------------------------------


@pytest.mark.parametrize("refused", FORMATS[:-1], ids=FORMAT_NAMES[:-1])
async def test_a_queue_is_reset_alone(refused: int) -> None:
    """Requests that were held are the driver's again, and the queue is set up anew (2.6.1)."""
    model = HoldingModel()
    async with driving(model, refused=refused, doorbell=DoorbellKind.MMIO) as driver:
        add(driver)
        await ring_by_register(driver)
        (chain,) = model.held
        before = driver.bus.ram.guest_memory.read(*chain.writable[0])
        await driver.header.reset_queue(REQUESTQ)
        assert model.is_stopped(REQUESTQ)
        assert model.stopped == [REQUESTQ]
        chain.push(chain.write(b"too late"))
        assert driver.bus.ram.guest_memory.read(*chain.writable[0]) == before
        assert model.requests == 0
        await driver.header.set_up_queue(REQUESTQ, driver.queue.layout)
        assert not model.is_stopped(REQUESTQ)


async def test_a_reset_of_the_device_stops_its_queues() -> None:
    """And nothing rings them until they are set up again."""
    model = EntropyModel()
    async with driving(model) as driver:
        await driver.read(8)
        await driver.header.reset()
        assert model.is_stopped(REQUESTQ)
        model.kick(REQUESTQ)
        driver.bus.notify(REQUESTQ)
        await driver.start()
        assert len(await driver.read(8)) == 8
    assert model.requests == 2


@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_a_broken_ring_asks_for_a_reset(refused: int) -> None:
    """DEVICE_NEEDS_RESET; the queue is left alone from then on, and works after the reset."""
    model = HoldingModel()
    async with driving(model, refused=refused, doorbell=DoorbellKind.MMIO) as driver:
        outside = (driver.bus.ram.guest_memory.size + (1 << 40)).to_bytes(8, "little")
        add(driver)
        layout = driver.queue.layout
        place = layout.descriptor_area
        driver.bus.ram.guest_memory.write(place, outside)
        await ring_by_register(driver)
        assert await driver.bus.read(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
        assert (model.interrupt.fault or "").startswith("requestq: ")
        assert model.stopped == [REQUESTQ]
        await ring_by_register(driver)
        await driver.header.reset()
        assert model.stopped == [REQUESTQ]
        await driver.start()
        assert model.interrupt.fault is None
        add(driver)
        await ring_by_register(driver)
        assert len(model.held) == 1


@pytest.mark.parametrize("refused", FORMATS, ids=FORMAT_NAMES)
async def test_chains_are_given_back_to_a_ring_that_the_driver_broke(refused: int) -> None:
    """The model that held them hears no error; the next look breaks the queue, once."""
    model = HoldingModel()
    async with driving(model, refused=refused, doorbell=DoorbellKind.MMIO) as driver:
        for _ in range(2):
            add(driver)
        await ring_by_register(driver)
        add(driver)
        memory, layout = driver.bus.ram.guest_memory, driver.queue.layout
        outside = (memory.size + (1 << 40)).to_bytes(8, "little")
        for entry in range(QUEUE_SIZE):
            memory.write(layout.descriptor_area + 16 * entry, outside)
        model.held[0].push(model.held[0].write(b"answered"))
        assert (model.requests, model.stopped) == (1, [])
        for _ in range(2):
            model.kick(REQUESTQ)
        assert await driver.bus.read(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
        assert "outside guest memory" in (model.interrupt.fault or "")
        model.held[1].push(model.held[1].write(b"too late"))
    assert (model.requests, model.stopped) == (1, [REQUESTQ])


async def test_a_held_chain_that_is_given_back_twice_breaks_its_queue() -> None:
    """The model's caller hears of it, and the driver does not wait for ever."""
    model = HoldingModel()
    async with driving(model, doorbell=DoorbellKind.MMIO) as driver:
        answer = add(driver)
        add(driver)
        await ring_by_register(driver)
        model.held[0].push(model.held[0].write(b"answered"))
        assert await answer == b"answered"
        with pytest.raises(ValueError, match="chain 0 was given back"):
            model.held[0].push()
        assert await driver.bus.read(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
        assert "the model failed: ValueError" in (model.interrupt.fault or "")
        assert model.stopped == [REQUESTQ]
        model.held[1].push()
        await ring_by_register(driver)
    assert model.stopped == [REQUESTQ]


async def test_a_model_that_fails_asks_for_a_reset() -> None:
    """Its error goes to whoever looks, and the driver does not wait for ever."""

    class FailingModel(EntropyModel):
        def take(self, chain: Chain) -> None:
            raise KeyError(chain.token)

    model = FailingModel()
    async with driving(model, doorbell=DoorbellKind.MMIO) as driver:
        add(driver)
        with pytest.raises(KeyError):
            model.kick(REQUESTQ)
        assert await driver.bus.read(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
        assert "the model failed: KeyError" in (model.interrupt.fault or "")


async def test_what_a_model_does_not_say_has_a_plain_answer() -> None:
    """No features of its own, and a configuration space that stays as it is."""
    model = EntropyModel()
    field = Register("seed", 0x100, Access.RW, "5.4.4", "A field.", reset=7)
    assert model.device_features == int(TRANSPORT_FEATURES)
    assert model.missing_feature(0) == ""
    assert model.read_config(field) == 7
    with pytest.raises(DriverViolation, match="seed: 0x9"):
        model.write_config(field, 9)
    assert model.is_stopped(REQUESTQ)
    assert model.queue_state(REQUESTQ) is None


async def test_an_eventfd_is_not_watched_after_the_queue_stopped() -> None:
    """The driver may close it then, and its number may be another file's."""
    model = EntropyModel()
    async with driving(model) as driver:
        await driver.read(8)
        await driver.header.reset()
        driver.bus.notify(REQUESTQ)
        loop = asyncio.get_running_loop()
        reader, writer = os.pipe()
        heard = asyncio.Event()
        loop.add_reader(reader, heard.set)
        os.write(writer, b"1")
        await heard.wait()
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)
        assert model.notifications == 1
