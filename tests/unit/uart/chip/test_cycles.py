"""Cycles: what a driver repeats in a batch, in one piece where nothing shows what is in between.

That they have the effects of single accesses is in test_properties.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.chip_rig import ALL_INTERRUPTS, ChipRig
from virtmesh.mmio.device import Cycles, Guard
from virtmesh.uart.port import FarLines, Flow, LineError
from virtmesh_common.fault.words import KINDS
from virtmesh_common.uart.spec import Iir, Lcr, Lsr, Mcr

RBR = THR = 0
IIR = Guard(2, 1, 0x0F, int(Iir.RECEIVED_DATA))
NO_ERRORS = Guard(5, 1, int(Lsr.PE | Lsr.FE | Lsr.BI | Lsr.ERROR_IN_RCVR_FIFO), 0)
IF_ROOM = Guard(5, 1, int(Lsr.THRE), int(Lsr.THRE))
READS = Cycles((IIR, NO_ERRORS), RBR, 1, 14, 6, None)
READS_WHATEVER_IIR_SHOWS = Cycles((NO_ERRORS,), RBR, 1, 14, 6, None)
WRITES = Cycles((IF_ROOM,), THR, 1, 4, 2, list(b"abcdefgh"))
READY = int(Lsr.DR | Lsr.THRE | Lsr.TEMT)


def port(**options: bool) -> ChipRig:
    """Make a port that a driver has set up."""
    bench = ChipRig(**options)
    bench.set_up(ier=ALL_INTERRUPTS, trigger=14)
    bench.get(bench.registers.iir)  # THR_EMPTY
    bench.get(bench.registers.lsr)
    return bench


def test_a_full_line_is_read_in_one_piece() -> None:
    """As long as a whole cycle is on the line behind the FIFO, which is as full afterwards."""
    bench = port()
    bench.send(bytes(range(100)))

    values = bench.device.run_cycles(READS)

    found = [0xC4, READY, *range(14), 0xC4, READY, *range(14, 28)]
    assert len(values) == 6 * 16
    assert list(values[:32]) == found
    assert (bench.chip.receiver.level, bench.line.waiting) == (16, 0)
    assert bench.device.uart_counters.received == 100


def test_only_whole_cycles_are_executed() -> None:
    """Twenty characters behind the FIFO are one."""
    bench = port()
    bench.send(bytes(36))

    assert len(bench.device.run_cycles(READS)) == 16
    assert bench.line.waiting == 6


def test_what_is_written_in_cycles_is_heard() -> None:
    """In order, with the status before each run."""
    bench = port()

    values = bench.device.run_cycles(WRITES)

    assert bench.take_sent() == b"abcdefgh"
    assert list(values) == [READY ^ Lsr.DR, 0, 0, 0, 0] * 2


def with_an_error(bench: ChipRig) -> None:
    """Have characters with errors on the line, behind a FIFO of good ones."""
    bench.send(bytes(16))
    bench.send(bytes(100), LineError.PARITY)


def without_flow_control(bench: ChipRig) -> None:
    """Have somebody send who does not wait for room."""
    bench.send(bytes(100))
    bench.send(bytes(1), flow=Flow.NONE)


def with_a_fault(bench: ChipRig) -> None:
    """Have the hundredth character lost."""
    bench.device.interrupt.faults.add(KINDS["overrun"], seed=1, after=99)
    bench.send(bytes(100))


def with_a_timeout(bench: ChipRig) -> None:
    """Have a FIFO that timed out, and was filled then."""
    bench.send(bytes(4))
    bench.clock.turn()
    bench.send(bytes(100))


def with_an_overrun(bench: ChipRig) -> None:
    """Have an error that the next read of LSR clears."""
    bench.send(bytes(100))
    bench.chip.receiver.lose(1)


def in_loopback(bench: ChipRig) -> None:
    """Have the transmitter feed the receiver."""
    bench.send(bytes(100))
    bench.set(bench.registers.mcr, Mcr.LOOP)


def with_the_latch(bench: ChipRig) -> None:
    """Have the divisor where RBR and THR are."""
    bench.send(bytes(100))
    bench.set(bench.registers.lcr, Lcr.DLAB | 3)


def unheard(bench: ChipRig) -> None:
    """Have a driver that has not looked for characters yet."""
    bench.device.begin_reset()
    bench.send(bytes(100))


@pytest.mark.parametrize("cycles", [READS, READS_WHATEVER_IIR_SHOWS])
@pytest.mark.parametrize(
    "prepare",
    [
        with_an_error,
        without_flow_control,
        with_a_fault,
        with_a_timeout,
        with_an_overrun,
        in_loopback,
        with_the_latch,
        unheard,
    ],
)
def test_reads_that_show_what_is_in_between_are_not_one_piece(
    prepare: Callable[[ChipRig], None], cycles: Cycles
) -> None:
    """Nothing is read, and nothing else is changed by having asked."""
    bench = port()
    prepare(bench)
    before = bench.line.waiting, bench.chip.receiver.level, bench.device.uart_counters

    assert not bench.device.run_cycles(cycles)
    assert before == (bench.line.waiting, bench.chip.receiver.level, bench.device.uart_counters)


@pytest.mark.parametrize("options", [{"pace": True}, {"auto_flow": True}])
def test_a_line_that_takes_its_time_is_read_step_by_step(options: dict[str, bool]) -> None:
    """Paced, or with a far end that RTS stops."""
    bench = port(**options)
    bench.set(bench.registers.mcr, Mcr.AFE | Mcr.RTS if "auto_flow" in options else 0)
    bench.send(bytes(100))
    bench.pass_characters(40)

    assert not bench.device.run_cycles(READS_WHATEVER_IIR_SHOWS)


@pytest.mark.parametrize("prepare", [in_loopback, with_the_latch, with_an_overrun, unheard])
def test_writes_that_are_seen_otherwise_are_not_one_piece(
    prepare: Callable[[ChipRig], None],
) -> None:
    """Nothing is sent."""
    bench = port()
    prepare(bench)

    assert not bench.device.run_cycles(WRITES)
    assert bench.take_sent() == b""


@pytest.mark.parametrize(
    "cycles",
    [
        Cycles((IIR, IF_ROOM), THR, 1, 4, 2, list(b"abcdefgh")),
        Cycles((IF_ROOM,), THR, 1, 1, 2, [0x41, 0x100]),
        Cycles((IF_ROOM,), THR, 2, 1, 2, [0x41, 0x42]),
        Cycles((IF_ROOM,), 7, 1, 1, 2, [0x41, 0x42]),
        Cycles((Guard(5, 2, 0, 0),), THR, 1, 1, 2, [0x41, 0x42]),
        Cycles((Guard(6, 1, 0, 0),), THR, 1, 1, 2, [0x41, 0x42]),
        Cycles((Guard(5, 1, int(Lsr.THRE), 0),), THR, 1, 1, 2, [0x41, 0x42]),
    ],
)
def test_other_cycles_are_executed_one_by_one(cycles: Cycles) -> None:
    """With guards that the writes change, or of other registers, or not met; with other values."""
    bench = port()
    bench.line.set_lines(FarLines())

    assert not bench.device.run_cycles(cycles)
    assert bench.take_sent() == b""
