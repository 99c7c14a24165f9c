"""VirtIOInput against an input device that does what a test says, good or bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from virtmesh.attach.guest_ram import Ram
from virtmesh.input.driver import VirtIOInput
from virtmesh.input.info import AbsInfo, DeviceIds, InputInfo
from virtmesh.machine import DoorbellKind, InterruptMode
from virtmesh.testing.local_bus import LocalBus
from virtmesh.testing.scripted_input import Event, ScriptedInput, bitmap
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.errors import (
    DeviceLost,
    DeviceNeedsReset,
    DriverError,
    QueueUnusable,
    RingCorrupt,
)
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.spec import ABSINFO, DEVIDS, EVENT, EVENTQ, STATUSQ, ConfigSelect
from virtmesh_common.virtio.features import Feature

KEY, KEY_A = code_of("KEY_A")
KEY_B = code_of("KEY_B")[1]
LED, NUML = code_of("LED_NUML")
CAPSL = code_of("LED_CAPSL")[1]
SYN = (*code_of("SYN_REPORT"), 0)
REL, REL_X = code_of("REL_X")
ABS, ABS_X = code_of("ABS_X")
_, NAME, SERIAL, IDS, PROPS, BITS, ABS_INFO = ConfigSelect


@asynccontextmanager
async def driving(
    model: ScriptedInput, mode: InterruptMode = InterruptMode.INTERRUPT
) -> AsyncIterator[VirtIOInput]:
    """Start a driver on a model, and wait until the model has its buffers."""
    with Ram(4 << 20) as ram:
        bus = LocalBus(VirtioMmio(model), ram, DoorbellKind.MMIO)
        driver = VirtIOInput(bus, mode)
        bus.on_interrupt(driver.handle_irq)
        try:
            await driver.start()
            await model.until_posted(1)
            yield driver
        finally:
            await driver.close()
            await bus.close()


def bus_of(driver: VirtIOInput) -> LocalBus:
    """Return the bus of a driver."""
    assert isinstance(driver.bus, LocalBus)
    return driver.bus


def u64(event: Event) -> int:
    """Return an event as a driver hands it out."""
    kind, code, value = event
    return kind << 48 | code << 32 | value & 0xFFFF_FFFF


@pytest.mark.parametrize("mode", list(InterruptMode))
async def test_events_are_read_in_order(mode: InterruptMode) -> None:
    """A task that waits is woken; values keep their sign in the low 32 bits."""
    model = ScriptedInput()
    async with driving(model, mode) as driver:
        assert driver.is_empty()
        waiting = asyncio.create_task(driver.read_event())
        await asyncio.sleep(0)
        events = [(KEY, KEY_A, 1), (REL, REL_X, -5), SYN]

        model.send(*events)

        assert await waiting == KEY << 48 | KEY_A << 32 | 1
        assert await driver.read_event() == REL << 48 | REL_X << 32 | 0xFFFF_FFFB
        assert await driver.read_event() == u64(SYN)
        assert driver.is_empty()


@pytest.mark.parametrize("mode", list(InterruptMode))
@pytest.mark.parametrize("size", [1, 4, 64])
@pytest.mark.parametrize("features", [0, int(Feature.VIRTIO_F_EVENT_IDX)])
async def test_buffers_are_posted_again_at_once(
    mode: InterruptMode, size: int, features: int
) -> None:
    """Far more events than buffers: none is missing, and all buffers are with the device again."""
    model = ScriptedInput(
        features=int(Feature.VIRTIO_F_VERSION_1) | features, queue_size_max=(size, 1)
    )
    async with driving(model, mode) as driver:
        reader = driver.watch()
        expected: list[int] = []
        got: list[int] = []
        for turn in range(50):
            await model.until_posted(size)
            for number in range(size):
                expected.append(u64((KEY, KEY_A, turn * size + number)))
                model.send((KEY, KEY_A, turn * size + number))
            while len(got) < len(expected):
                got += (await reader.read())[0]

        assert got == expected
        assert driver.in_flight == size
        assert driver.log.count == 50 * size


async def test_each_reader_gets_every_event() -> None:
    """Two watchers and the device's own reader; one that comes later gets what comes later."""
    model = ScriptedInput()
    async with driving(model) as driver:
        readers = [driver.watch(), driver.watch()]
        model.send((KEY, KEY_A, 1), SYN)
        for reader in readers:
            events, times_us = await reader.read()
            assert list(events) == [u64((KEY, KEY_A, 1)), u64(SYN)]
            assert len(times_us) == 2
        late = driver.watch()
        model.send((KEY, KEY_A, 0))

        assert list((await late.read())[0]) == [u64((KEY, KEY_A, 0))]
        assert [await driver.read_event() for _ in range(3)] == [
            u64((KEY, KEY_A, 1)),
            u64(SYN),
            u64((KEY, KEY_A, 0)),
        ]


async def test_the_whole_configuration_is_read() -> None:
    """Name, serial, ids, properties, bits of every type, ranges of every axis."""
    tablet: dict[tuple[int, int], bytes] = {
        (NAME, 0): "Täblet".encode(),
        (SERIAL, 0): b"42",
        (IDS, 0): DEVIDS.pack(3, 0x1234, 0x5678, 9),
        (PROPS, 0): b"\x03",
        (BITS, KEY): bitmap("BTN_LEFT", "KEY_A"),
        (BITS, ABS): bitmap("ABS_X", "ABS_Y"),
        (ABS_INFO, ABS_X): ABSINFO.pack(-10, 32767, 1, 2, 40),
    }
    async with driving(ScriptedInput(tablet)) as driver:
        assert driver.info == InputInfo(
            name="Täblet",
            serial="42",
            ids=DeviceIds(3, 0x1234, 0x5678, 9),
            properties=frozenset({0, 1}),
            codes={
                KEY: frozenset({KEY_A, code_of("BTN_LEFT")[1]}),
                ABS: frozenset({ABS_X, code_of("ABS_Y")[1]}),
            },
            axes={ABS_X: AbsInfo(-10, 32767, 1, 2, 40)},
        )


async def test_a_device_that_says_nothing_is_driven() -> None:
    """A configuration without any piece is no reason to refuse events."""
    model = ScriptedInput({})
    async with driving(model) as driver:
        assert driver.info == InputInfo("", "", DeviceIds(), frozenset(), {}, {})
        model.send((KEY, KEY_A, 1))

        assert await driver.read_event() == u64((KEY, KEY_A, 1))


@pytest.mark.parametrize(
    ("pieces", "sizes", "queues", "error", "why"),
    [
        ({}, {(NAME, 0): 129}, (64, 64), DriverError, "129 bytes of .*ID_NAME with subsel 0"),
        ({(IDS, 0): bytes(7)}, {}, (64, 64), DriverError, "7 bytes of .*ID_DEVIDS; it has 8"),
        (
            {(BITS, ABS): b"\x01", (ABS_INFO, 0): bytes(21)},
            {},
            (64, 64),
            DriverError,
            "21 bytes of .* axis 0; it has 20",
        ),
        ({}, {}, (64,), QueueUnusable, "no queue 1"),
    ],
)
async def test_devices_that_make_no_sense_are_refused(
    pieces: Mapping[tuple[int, int], bytes],
    sizes: Mapping[tuple[int, int], int],
    queues: Sequence[int],
    error: type[DriverError],
    why: str,
) -> None:
    """The driver says why, and sets FAILED."""
    with Ram(4 << 20) as ram:
        device = VirtioMmio(ScriptedInput(pieces, sizes=sizes, queue_size_max=queues))
        bus = LocalBus(device, ram)

        with pytest.raises(error, match=why):
            await VirtIOInput(bus).start()

        assert "FAILED" in device.state.device_status_names
        await bus.close()


@pytest.mark.parametrize(("data", "written"), [(b"", 0), (bytes(7), 7), (bytes(8), 0)])
async def test_a_buffer_without_an_event_is_no_event(data: bytes, written: int) -> None:
    """What an earlier event left in the buffer is not handed out; the buffer serves again."""
    model = ScriptedInput(queue_size_max=(1, 1))
    async with driving(model) as driver:
        model.send((KEY, KEY_A, 1))
        await driver.read_event()
        await model.until_posted(1)
        model.send_raw(data, written=written)
        await model.until_posted(1)
        model.send((KEY, KEY_A, 0))

        assert await driver.read_event() == u64((KEY, KEY_A, 0))
        assert driver.malformed == 1


async def test_lights_are_ordered_one_event_each() -> None:
    """The order is an event on the status queue; it is done when the device gives it back."""
    model = ScriptedInput(hold=True)
    async with driving(model) as driver:
        order = asyncio.create_task(driver.set_led(CAPSL, on=True))
        assert await model.ordered(1) == [(LED, CAPSL, 1)]
        assert not order.done()

        model.obey()
        await order


async def test_orders_wait_their_turn() -> None:
    """More orders than the queue holds: all arrive, in order."""
    model = ScriptedInput(queue_size_max=(4, 2))
    async with driving(model) as driver:
        await asyncio.gather(*(driver.set_led(NUML, on=bool(n % 2)) for n in range(100)))

        assert model.orders == [(LED, NUML, n % 2) for n in range(100)]


async def test_a_cancelled_order_keeps_its_slot_until_it_is_used() -> None:
    """Memory that the device may still read holds no other order."""
    model = ScriptedInput(queue_size_max=(4, 1), hold=True)
    async with driving(model) as driver:
        first = asyncio.create_task(driver.set_led(NUML, on=True))
        await model.ordered(1)
        first.cancel()
        second = asyncio.create_task(driver.set_led(CAPSL, on=True))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(model.orders) == 1

        model.obey()
        assert await model.ordered(2) == [(LED, NUML, 1), (LED, CAPSL, 1)]
        model.obey()
        await second


async def test_a_light_that_is_not_there_is_refused() -> None:
    """The error says which there are; the device hears nothing."""
    model = ScriptedInput()
    async with driving(model) as driver:
        with pytest.raises(
            BadEvent, match="no light with code 7; its lights are: LED_NUML, LED_CAPSL"
        ):
            await driver.set_led(7, on=True)

        assert model.orders == []


@pytest.mark.parametrize("mode", list(InterruptMode))
async def test_a_lost_device_fails_everyone_at_once(mode: InterruptMode) -> None:
    """What came is read; then readers and orders, waiting or coming, get DeviceLost."""
    model = ScriptedInput(hold=True)
    async with driving(model, mode) as driver:
        order = asyncio.create_task(driver.set_led(NUML, on=True))
        await model.ordered(1)
        reader = driver.watch()
        model.send((KEY, KEY_A, 1))
        await driver.read_event()
        waiting = asyncio.create_task(driver.read_event())
        await asyncio.sleep(0)

        bus_of(driver).lose("pulled out")

        assert list((await reader.read())[0]) == [u64((KEY, KEY_A, 1))]
        doomed: list[Any] = [order, waiting, reader.read(), driver.set_led(NUML, on=False)]
        for one in doomed:
            with pytest.raises(DeviceLost, match="pulled out"):
                await one


async def test_a_device_that_needs_a_reset_fails_everyone() -> None:
    """DEVICE_NEEDS_RESET comes with a configuration interrupt; the driver has failed."""
    model = ScriptedInput()
    async with driving(model) as driver:
        waiting = asyncio.create_task(driver.read_event())
        await asyncio.sleep(0)
        model.interrupt.set_fault("broken")

        with pytest.raises(DeviceNeedsReset):
            await waiting


@pytest.mark.parametrize("queue", [EVENTQ, STATUSQ])
async def test_a_corrupt_ring_fails_everyone(queue: int) -> None:
    """A device that uses what it was not given is not trusted any further."""
    model = ScriptedInput()
    async with driving(model) as driver:
        waiting = asyncio.create_task(driver.read_event())
        await asyncio.sleep(0)
        layout = driver.queues[queue].layout
        driver.bus.ram.guest_memory.write(layout.device_area + 2, b"\xff\x7f")
        model.interrupt.raise_used(queue)

        with pytest.raises(RingCorrupt):
            await waiting


async def test_only_the_selectors_of_the_configuration_are_written() -> None:
    """5.8.5.1: nothing but `select` and `subsel`, and both of them for each piece."""
    model = ScriptedInput()
    async with driving(model) as driver:
        config = {layout.offset for layout in model.config}
        written = [
            access
            for access in bus_of(driver).trace
            if access.offset in config and access.width == 1 and access.offset <= min(config) + 1
        ]

        assert {access.offset - min(config) for access in written} == {0, 1}


async def test_a_bad_event_value_is_what_the_device_sent() -> None:
    """The driver hands out what it does not know; readers may ignore it (5.8.6.1)."""
    model = ScriptedInput()
    async with driving(model) as driver:
        model.send_raw(EVENT.pack(0xFFFF, 0xFFFF, -1))

        assert await driver.read_event() == 0xFFFF_FFFF_FFFF_FFFF
