"""VirtIOInput on the real input devices: in this process and through a service, every doorbell."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.driving import REACHES, driving
from tests.support.input_injector import Mark, lengths
from virtmesh.input.driver import VirtIOInput
from virtmesh.input.held_keys import InjectorState
from virtmesh.input.info import AbsInfo, DeviceIds
from virtmesh.input.injection import Offer
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import built_in, load
from virtmesh.machine import DoorbellKind, InterruptMode
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1.input_pb2 import OUTCOME_ACCEPTED, OUTCOME_DELIVERED
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.spec import EVENTQ
from virtmesh_common.virtio.features import Feature

WAYS = [
    pytest.param(
        (reach, doorbell, mode, refused), id=f"{reach}-{doorbell.value}-{mode.value}-{ring}"
    )
    for reach in REACHES
    for doorbell in DoorbellKind
    for mode in InterruptMode
    for ring, refused in (("packed", 0), ("split", Feature.VIRTIO_F_RING_PACKED))
]
REL, REL_X = code_of("REL_X")
LED, CAPSL = code_of("LED_CAPSL")
SYN = (*code_of("SYN_REPORT"), 0)

Event = tuple[int, int, int]
Drive = Callable[..., AbstractAsyncContextManager[tuple[VirtIOInput, InputModel]]]


@pytest.fixture(params=WAYS)
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Drive:
    """Return what starts a driver on an input device made of the given options."""
    reach, doorbell, mode, refused = request.param

    @asynccontextmanager
    async def start(
        personality: str, **options: Any
    ) -> AsyncIterator[tuple[VirtIOInput, InputModel]]:
        model = InputModel("input", InputOptions(personality, **options), load(personality))
        device = VirtioMmio(model)
        options = {"doorbell": doorbell, "interrupts": mode, "refused": refused}
        async with driving(reach, device, tmp_path, **options) as driver:
            assert isinstance(driver, VirtIOInput)
            yield driver, model

    return start


async def inject(model: InputModel, events: Sequence[Event]) -> list[int]:
    """Inject a packet; return what became of it, once that is known to its end."""
    outcomes: list[int] = []
    done = asyncio.Event()

    def report(_: int, outcome: int) -> None:
        outcomes.append(outcome)
        if outcome != OUTCOME_ACCEPTED:
            done.set()

    offer = Offer(InjectorState(), [*events, SYN], report, report_end=True)
    await model.injection.offer(offer, refuse=False)
    await done.wait()
    return outcomes


def marked(number: int, events: int) -> Iterator[list[Event]]:
    """Make the packets of an injector: each event says whose it is."""
    for packet, length in enumerate(lengths(number, events), start=1):
        yield [(REL, REL_X, Mark(number, packet, place).encode()) for place in range(length)]


def u64(event: Event) -> int:
    """Return an event as a driver hands it out."""
    kind, code, value = event
    return kind << 48 | code << 32 | value & 0xFFFF_FFFF


@pytest.mark.parametrize("queue_size", [4, 64])
async def test_every_packet_arrives_whole_and_in_order(drive: Drive, queue_size: int) -> None:
    """Packets of three injectors, through queues longer and shorter than packets are."""
    chance = random.Random(5)  # noqa: S311 - a test's chance is to be the same each time

    async with drive("mouse", queue_size=queue_size, waiting=8) as (driver, model):

        async def work(number: int) -> None:
            for packet in marked(number, 300):
                assert await inject(model, packet) == [OUTCOME_ACCEPTED, OUTCOME_DELIVERED]
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)

        reader = driver.watch()
        await asyncio.gather(*(work(number) for number in range(3)))
        total = model.injection.events_accepted
        events: list[int] = []
        while len(events) < total:
            events += (await reader.read())[0]

        expected = {number: marked(number, 300) for number in range(3)}
        start = 0
        while start < total:
            end = events.index(0, start)
            packet = next(expected[Mark.decode(events[start] & 0xFFFF_FFFF).number])
            assert events[start:end] == [u64(event) for event in packet]
            start = end + 1
        assert not any(list(rest) for rest in expected.values())
        assert driver.log.count == model.injection.events_delivered == total
        assert driver.malformed == model.counters[EVENTQ].malformed == 0


@pytest.mark.parametrize("personality", built_in())
async def test_the_driver_learns_what_the_device_is(drive: Drive, personality: str) -> None:
    """Everything that the personality says comes out of the configuration space."""
    async with drive(personality, serial="S-1", name_text="Näme") as (driver, model):
        wanted = model.personality

        assert (driver.info.name, driver.info.serial) == ("Näme", "S-1")
        assert driver.info.ids == DeviceIds(*wanted.ids)
        assert driver.info.properties == frozenset(wanted.properties)
        assert driver.info.codes == {kind: frozenset(c) for kind, c in wanted.codes.items()}
        assert driver.info.axes == {
            code: AbsInfo(axis.minimum, axis.maximum, axis.fuzz, axis.flat, axis.resolution)
            for code, axis in wanted.axes.items()
        }


async def test_lights_reach_the_device(drive: Drive) -> None:
    """On and off; the order is through when the call returns."""
    async with drive("keyboard") as (driver, model):
        await driver.set_led(CAPSL, on=True)
        assert list(model.output.leds_on) == [CAPSL]

        await driver.set_led(CAPSL, on=False)
        assert list(model.output.leds_on) == []

    async with drive("mouse") as (driver, _):
        with pytest.raises(BadEvent, match="its lights are: none"):
            await driver.set_led(CAPSL, on=True)


async def test_events_wait_for_whoever_reads_them(drive: Drive) -> None:
    """Delivered to the driver, an event stays until it is read; values keep their sign."""
    async with drive("mouse") as (driver, model):
        await inject(model, [(REL, REL_X, -3)])

        assert [await driver.read_event() for _ in range(2)] == [u64((REL, REL_X, -3)), 0]
