"""The line between far end and chip: room, turns, flow, pacing, and what writers are told."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.chip_rig import ChipRig
from virtmesh.uart.line.input_queue import LOW_WATER, TURN
from virtmesh.uart.line.patience import PATIENCE_SECONDS
from virtmesh.uart.port import LINE_LIMIT, Flow, LineError
from virtmesh_common.uart.errors import LineFull
from virtmesh_common.uart.spec import FIFO_SIZE, Ier, Lsr


def make(*, ier: int = Ier.ERBFI, trigger: int = 8, pace: bool = False) -> ChipRig:
    """Make a port that a driver has set up."""
    bench = ChipRig(pace=pace)
    bench.set_up(ier=ier, trigger=trigger)
    bench.get(bench.registers.lsr)
    return bench


def drain(bench: ChipRig, most: int) -> bytes:
    """Read at most so many characters in one piece."""
    there = min(most, bench.line.waiting + bench.chip.receiver.level)
    return bytes(bench.device.read_run(bench.registers.rbr.offset, 1, there))


# -- Room ---


def test_input_waits_for_a_driver_in_a_bounded_room() -> None:
    """What does not fit is refused whole; both are counted."""
    bench = ChipRig()
    bench.send(bytes(LINE_LIMIT - 1))
    with pytest.raises(LineFull, match="room for 1 of") as caught:
        bench.send(b"ab")
    assert caught.value.metadata == {"room_bytes": "1"}
    assert bench.line.waiting == LINE_LIMIT - 1
    counters = bench.device.uart_counters
    assert (counters.refused_bytes, counters.unattended_bytes) == (2, LINE_LIMIT - 1)


def test_input_that_comes_to_an_attached_driver_is_not_unattended() -> None:
    """Only what nobody was there for is counted."""
    bench = ChipRig()
    bench.send(b"before")
    bench.line.attached = True
    bench.send(b"after")
    assert bench.device.uart_counters.unattended_bytes == 6


def test_nothing_is_nothing() -> None:
    """Input without characters puts nothing on the line."""
    bench = ChipRig()
    bench.send(b"")
    assert bench.line.waiting == 0


async def test_a_writer_waits_for_room() -> None:
    """A message larger than the room goes on the line in parts, in order."""
    bench = make()
    data = bytes(range(256)) * (3 * LINE_LIMIT // 256)
    sending = asyncio.create_task(bench.line.send(data))
    received = bytearray()
    for _ in range(1000):
        await asyncio.sleep(0)
        assert bench.line.waiting <= LINE_LIMIT
        received += drain(bench, 4096)
    await sending
    assert received == data


async def test_writers_are_served_in_turn() -> None:
    """One that has much to send does not keep another one out."""
    bench = ChipRig()
    bench.send(bytes(LINE_LIMIT))
    first = asyncio.create_task(bench.line.send(b"1" * LINE_LIMIT))
    second = asyncio.create_task(bench.line.send(b"2" * LINE_LIMIT))
    await asyncio.sleep(0)
    bench.set_up()
    received = bytearray()
    for _ in range(100):
        received += drain(bench, LOW_WATER)
        await asyncio.sleep(0)
    await asyncio.gather(first, second)
    assert len(received) == 3 * LINE_LIMIT
    served = bytes(received[LINE_LIMIT:][::TURN])
    assert served[:6] == b"121212"


async def test_a_message_that_fits_is_not_torn() -> None:
    """What needs not wait is put on the line in one piece."""
    bench = make()
    await asyncio.gather(bench.line.send(b"a" * 1000), bench.line.send(b"b" * 1000))
    assert drain(bench, 2000) == b"a" * 1000 + b"b" * 1000


async def test_nobody_overtakes_a_writer_that_waits() -> None:
    """While one waits for its turn, input at once is refused, however small."""
    bench = ChipRig()
    bench.send(bytes(LINE_LIMIT))
    waiting = asyncio.create_task(bench.line.send(b"x"))
    await asyncio.sleep(0)
    bench.set_up()
    drain(bench, 100)
    with pytest.raises(LineFull):
        bench.send(b"y")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_cancelled_writer_leaves_what_it_has_sent_and_the_next_has_its_turn() -> None:
    """As on a real line: what is under way arrives."""
    bench = ChipRig()
    first = asyncio.create_task(bench.line.send(b"1" * (LINE_LIMIT + 5)))
    second = asyncio.create_task(bench.line.send(b"2" * 5))
    await asyncio.sleep(0)
    first.cancel()
    bench.set_up()
    received = drain(bench, LINE_LIMIT)
    await second
    assert (received, drain(bench, 5)) == (b"1" * LINE_LIMIT, b"2" * 5)


# -- Flow ---


def test_a_sender_that_looks_loses_nothing() -> None:
    """It waits while the receiver has no room."""
    bench = make()
    bench.send(bytes(range(256)) * 100)
    assert bench.read_all() == bytes(range(256)) * 100
    assert bench.device.uart_counters.overruns == 0


def test_a_sender_that_does_not_look_overruns_a_port_that_is_polled() -> None:
    """With the interrupts off, the line does not wait at all."""
    bench = make(ier=0)
    bench.send(bytes(1000), flow=Flow.NONE)
    assert (bench.line.waiting, bench.chip.receiver.level) == (0, FIFO_SIZE)
    assert bench.device.uart_counters.overruns == 1000 - FIFO_SIZE


def test_a_sender_that_does_not_look_waits_for_the_interrupt_handler() -> None:
    """While the interrupt line is asserted, its driver is about to read: nothing is lost."""
    bench = make(trigger=14)
    bench.send(bytes(range(256)) * 40, flow=Flow.NONE)
    assert bench.read_all() == bytes(range(256)) * 40
    assert bench.device.uart_counters.overruns == 0


def test_masking_the_interrupt_lets_the_burst_run_over() -> None:
    """A handler that puts the work off loses what comes meanwhile; each lost byte is counted."""
    bench = make(trigger=14)
    bench.send(bytes(LINE_LIMIT), flow=Flow.NONE)
    drain(bench, 100)
    bench.set(bench.registers.ier, 0)
    lost = bench.device.uart_counters.overruns
    assert (bench.line.waiting, lost) == (0, LINE_LIMIT - 100 - FIFO_SIZE)
    assert len(bench.read_all()) == FIFO_SIZE


def test_the_line_waits_for_an_idle_driver_no_longer_than_a_second() -> None:
    """A driver that was interrupted and does nothing overruns in the end, until there is room."""
    bench = make()
    bench.send(bytes(1000), flow=Flow.NONE)
    bench.clock.advance(PATIENCE_SECONDS * 0.9)
    waited = bench.line.waiting
    bench.clock.advance(PATIENCE_SECONDS * 0.2)
    bench.send(bytes(500), flow=Flow.NONE)
    assert (waited, bench.line.waiting) == (1000 - FIFO_SIZE, 0)
    assert bench.device.uart_counters.overruns == 1500 - FIFO_SIZE
    bench.read_all()
    bench.send(bytes(500), flow=Flow.NONE)
    assert bench.line.waiting == 500 - FIFO_SIZE


def test_a_driver_that_reads_slowly_is_waited_for() -> None:
    """The second begins anew with each read."""
    bench = make(trigger=14)
    bench.send(bytes(100), flow=Flow.NONE)
    for _ in range(50):
        bench.clock.advance(PATIENCE_SECONDS * 0.9)
        bench.read(1)
    assert bench.device.uart_counters.overruns == 0


def test_flows_keep_their_order() -> None:
    """A sender that does not look is behind one that waits, not before it."""
    bench = make(ier=0)
    bench.send(bytes(range(20)))
    bench.send(bytes(range(20, 30)), flow=Flow.NONE)
    assert bench.line.waiting == 14
    assert bench.read(4) == bytes(range(4))
    assert bench.line.waiting == 0
    assert bench.read_all() == bytes(range(4, 20))


# -- What a writer is told ---


async def test_a_writer_is_told_what_was_taken_and_what_was_lost() -> None:
    """Characters count when they leave the line; a break counts as one."""
    bench = make(ier=0)
    await bench.line.send(b"abc", on_taken=bench.taken)
    await bench.line.send(b"", error=LineError.BREAK, on_taken=bench.taken)
    taken = bench.taken_characters
    await bench.line.send(bytes(20), flow=Flow.NONE, on_taken=bench.taken)
    assert (taken, bench.taken_characters, bench.taken_overrun) == (4, 24, 8)


async def test_a_writer_is_told_nothing_while_its_input_waits() -> None:
    """Sent is not taken."""
    bench = ChipRig()
    await bench.line.send(b"abc", on_taken=bench.taken)
    before = bench.taken_characters
    bench.set_up()
    assert (before, bench.taken_characters) == (0, 3)


def test_errors_stay_with_their_characters() -> None:
    """Between others, and in order."""
    bench = make(ier=0)
    bench.send(b"ab")
    bench.send(b"cd", LineError.PARITY)
    bench.send(error=LineError.BREAK)
    bench.send(b"ef")
    seen = []
    while (status := bench.get(bench.registers.lsr)) & Lsr.DR:
        seen.append((bench.read(1), Lsr(status) & (Lsr.PE | Lsr.BI)))
    none = Lsr(0)
    assert seen == [
        (b"a", none),
        (b"b", none),
        (b"c", Lsr.PE),
        (b"d", Lsr.PE),
        (b"\0", Lsr.BI),
        (b"e", none),
        (b"f", none),
    ]


# -- Pacing ---


def test_paced_characters_arrive_one_after_the_other() -> None:
    """Each takes its time, however many wait."""
    bench = make(pace=True, trigger=14)
    bench.send(b"abc")
    levels = []
    for _ in range(4):
        bench.pass_characters(0.99)
        levels.append(bench.chip.receiver.level)
        bench.pass_characters(0.01)
    assert levels == [0, 1, 2, 3]


def test_paced_a_sender_that_looks_waits_for_room() -> None:
    """The character after the sixteenth begins when there is room for it."""
    bench = make(pace=True, trigger=14)
    bench.send(bytes(range(20)))
    bench.pass_characters(30)
    full = (bench.chip.receiver.level, bench.line.waiting)
    bench.read(1)
    bench.pass_characters(1)
    assert (full, bench.line.waiting) == ((FIFO_SIZE, 4), 3)
    assert bench.device.uart_counters.overruns == 0


def test_paced_a_sender_that_does_not_look_never_waits() -> None:
    """A real line does not wait for interrupt handlers."""
    bench = make(pace=True, trigger=14)
    bench.send(bytes(20), flow=Flow.NONE)
    bench.pass_characters(20)
    assert bench.asserted
    assert (bench.line.waiting, bench.device.uart_counters.overruns) == (0, 4)


def test_a_late_loop_changes_nothing_but_the_moment() -> None:
    """Before a register is read, all that was due has happened, each at its own time."""
    bench = make(pace=True, trigger=14)
    bench.send(b"abc")
    bench.write(b"xyz")
    bench.clock.jump(bench.character_seconds * 6.9)
    assert bench.identify().name == "NONE"
    assert (bench.chip.receiver.level, bench.take_sent()) == (3, b"xyz")
    bench.pass_characters(0.2)
    assert bench.identify().name == "CHARACTER_TIMEOUT"


def test_pacing_does_not_drift() -> None:
    """A thousand characters take a thousand character times, late or not."""
    bench = make(pace=True)
    bench.send(bytes(1000), flow=Flow.NONE)
    for _ in range(100):
        bench.pass_characters(9.99)
        bench.read_all()
    assert bench.line.waiting == 1
    bench.pass_characters(1.01)
    assert bench.line.waiting == 0
