"""100,000 events of 4 injectors at once: nothing is lost, torn or out of order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from tests.support.input_desk import PLAIN, REL, REL_X, SYN, Desk, Driver, opened, request
from tests.support.input_poster import Event
from virtmesh.testing.scripted_driver import signalled
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.input.spec import EVENTQ
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from tests.support.input_desk import Serve

PACKED = int(Feature.VIRTIO_F_RING_PACKED)
EVENT_IDX = PLAIN | int(Feature.VIRTIO_F_EVENT_IDX)
INJECTORS = 4
EVENTS = 25_000
"""Events of each injector, SYN_REPORT not counted."""


def packets_of(injector: int) -> Iterator[list[Event]]:
    """Make the packets of an injector: each event says whose it is and which one."""
    chance = random.Random(injector)  # noqa: S311 - the same packets each time
    sent = 0
    while sent < EVENTS:
        length = min(chance.choice((1, 1, 2, 3, 3, 5, 9, 40)), EVENTS - sent)
        yield [(REL, REL_X, injector << 24 | sent + place) for place in range(length)]
        sent += length


async def inject(desk: Desk, injector: int) -> list[int]:
    """Send the packets of an injector; return the numbers of those that were delivered."""
    stream = desk.inputs.Inject()

    async def send() -> None:
        for sequence, events in enumerate(packets_of(injector)):
            await stream.write(request(sequence, *events, report_delivered=True))
        await stream.done_writing()

    sending = asyncio.create_task(send())
    delivered = []
    while (answer := await stream.read()) is not grpc.aio.EOF:
        if answer.outcome == pb.OUTCOME_DELIVERED:
            delivered.append(answer.sequence)
    await sending
    return delivered


async def drive_with_pauses(driver: Driver, total: int) -> list[Event]:
    """Take events until all are there, and pause at random: other tasks run meanwhile."""
    chance = random.Random(0)  # noqa: S311 - the same pauses each time
    got: list[Event] = []
    while len(got) < total:
        for _ in range(chance.choice((0, 0, 0, 1, 5, 50))):
            await asyncio.sleep(0)
        while not driver.poster.queue.enable_interrupts():
            await signalled(driver.script.doorbells.queues[EVENTQ].call)
        got += driver.poster.take()
        for _ in range(chance.choice((0, 0, 0, 1, 20))):
            await asyncio.sleep(0)
        await driver.post()
    return got


def split_packets(events: Sequence[Event]) -> list[list[Event]]:
    """Cut a stream of events behind each SYN_REPORT."""
    packets: list[list[Event]] = [[]]
    for event in events:
        if event == SYN:
            packets.append([])
        else:
            packets[-1].append(event)
    return packets[:-1]


@pytest.mark.parametrize(
    ("features", "size"),
    [
        (EVENT_IDX, 64),
        (PLAIN, 64),
        (EVENT_IDX, 4),
        (PLAIN, 4),
        (EVENT_IDX | PACKED, 63),
        (PLAIN | PACKED, 3),
    ],
)
async def test_nothing_is_lost_torn_or_out_of_order(serve: Serve, features: int, size: int) -> None:
    """100,000 events of 4 injectors, through a driver that pauses at random."""
    async with (
        opened(serve, "mouse", queue_size=size, waiting=256) as desk,
        desk.driven(features, size) as driver,
    ):
        wanted = {injector: list(packets_of(injector)) for injector in range(INJECTORS)}
        packets = sum(len(one) for one in wanted.values())
        total = INJECTORS * EVENTS + packets
        driving = asyncio.create_task(drive_with_pauses(driver, total))
        delivered = await asyncio.gather(*(inject(desk, one) for one in range(INJECTORS)))
        got = await driving
        stats = await desk.inputs.GetStats(pb.GetStatsRequest())
    found = defaultdict(list)
    for packet in split_packets(got):
        found[packet[0][2] >> 24].append(packet)
    assert found == wanted
    assert delivered == [list(range(len(wanted[one]))) for one in range(INJECTORS)]
    assert stats.packets_accepted == stats.packets_delivered == packets
    assert stats.events_accepted == stats.events_delivered == len(got) == total
    assert (stats.packets_waiting, stats.packets_lost, stats.packets_refused) == (0, 0, 0)
    long = sum(len(packet) + 1 > size for one in wanted.values() for packet in one)
    assert stats.packets_split == long
