"""The interrupts of the NS16550A: priorities, what clears each (PC16550D, 8.6, 8.7, table IV)."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.support.chip_rig import ChipRig
from virtmesh.uart.chip.interrupts import Source
from virtmesh.uart.port import FarLines, LineError
from virtmesh_common.uart.spec import Iir

TRIGGER = 14
PAIRS = [
    pytest.param(*pair, id="-".join(one.value.name for one in pair))
    for pair in combinations(Source, 2)
]


def make_pending(bench: ChipRig, source: Source) -> None:
    """Have a source pending; the interrupts are still disabled. THRE is pending once enabled."""
    if source is Source.LINE_STATUS:
        bench.send(b"!", LineError.FRAMING)
    elif source is Source.CHARACTER_TIMEOUT:
        bench.send(b"t")
        bench.clock.turn()
    elif source is Source.RECEIVED_DATA:
        bench.send(bytes(TRIGGER))
    elif source is Source.MODEM_STATUS:
        bench.line.set_lines(FarLines(cts=False))


def service(bench: ChipRig, source: Source) -> None:
    """Do what clears a source (table IV, interrupt reset control)."""
    registers = bench.registers
    if source is Source.LINE_STATUS:
        bench.get(registers.lsr)
    elif source is Source.CHARACTER_TIMEOUT:
        bench.get(registers.rbr)
    elif source is Source.RECEIVED_DATA:
        bench.read(TRIGGER)
    elif source is Source.THR_EMPTY:
        bench.get(registers.iir)
    else:
        bench.get(registers.msr)


def pending(*sources: Source) -> ChipRig:
    """Make a port with these sources pending and enabled."""
    bench = ChipRig()
    bench.set_up(ier=0, trigger=TRIGGER)
    bench.get(bench.registers.lsr)
    for source in sources:
        make_pending(bench, source)
    bench.set(bench.registers.ier, sum({int(source.value.enable) for source in sources}))
    return bench


@pytest.mark.parametrize(("higher", "lower"), PAIRS)
def test_iir_shows_the_highest_priority(higher: Source, lower: Source) -> None:
    """8.6: IIR indicates the highest priority pending interrupt; serviced, it shows the other one.

    A timeout and received data have one priority (8.11); bit 3 is set while a timeout is pending.
    """
    bench = pending(higher, lower)
    first = bench.identify()
    service(bench, higher)
    assert (first, bench.identify()) == (higher.value.iir, lower.value.iir)


@pytest.mark.parametrize("source", Source)
def test_each_interrupt_can_be_enabled_alone(source: Source) -> None:
    """8.7: each interrupt can individually activate the interrupt output."""
    bench = pending(source)
    assert bench.device.interrupt.status == source.value.bit
    assert bench.identify() is source.value.iir


@pytest.mark.parametrize("source", Source)
def test_what_resets_an_interrupt_releases_the_line(source: Source) -> None:
    """Table IV, interrupt reset control."""
    bench = pending(source)
    service(bench, source)
    assert not bench.asserted
    assert bench.identify() is Iir.NONE


@pytest.mark.parametrize("source", Source)
def test_a_disabled_interrupt_is_not_indicated(source: Source) -> None:
    """8.7: disabling prevents it from being indicated in IIR and from activating INTR."""
    bench = pending(source)
    bench.set(bench.registers.ier, 0)
    assert not bench.asserted
    assert bench.identify() is Iir.NONE


@pytest.mark.parametrize("source", Source)
def test_an_enabled_interrupt_that_was_pending_is_indicated(source: Source) -> None:
    """8.7: all other functions go on while an interrupt is disabled."""
    bench = pending(source)
    bench.set(bench.registers.ier, 0)
    bench.set(bench.registers.ier, source.value.enable)
    assert bench.identify() is source.value.iir


@pytest.mark.parametrize("shown", [one for one in Source if one is not Source.THR_EMPTY])
def test_reading_iir_clears_no_interrupt_but_thre(shown: Source) -> None:
    """Table IV: reading IIR resets the THRE interrupt alone."""
    bench = pending(shown)
    assert (bench.identify(), bench.identify()) == (shown.value.iir, shown.value.iir)
    assert bench.asserted


@pytest.mark.parametrize(
    "shown", [Source.LINE_STATUS, Source.CHARACTER_TIMEOUT, Source.RECEIVED_DATA]
)
def test_reading_iir_keeps_thre_while_it_shows_another(shown: Source) -> None:
    """Table IV: reading IIR resets THRE only if it is the source of the interrupt."""
    bench = pending(shown, Source.THR_EMPTY)
    for _ in range(3):
        assert bench.identify() is shown.value.iir
    service(bench, shown)
    assert bench.identify() is Iir.THR_EMPTY
    assert bench.identify() is Iir.NONE


def test_writing_thr_clears_the_thre_interrupt() -> None:
    """Table IV: or writing into the transmitter holding register."""
    bench = ChipRig(pace=True)
    bench.set_up()
    bench.write(b"ab")
    assert bench.identify() is Iir.NONE
    assert not bench.asserted


def test_enabling_thre_while_the_register_is_empty_interrupts() -> None:
    """8.4, bit 5: it causes an interrupt when the THRE interrupt enable is set high."""
    bench = ChipRig()
    bench.set_up(ier=0)
    bench.set(bench.registers.ier, Source.THR_EMPTY.value.enable)
    assert bench.identify() is Iir.THR_EMPTY
    assert bench.identify() is Iir.NONE
    bench.set(bench.registers.ier, Source.THR_EMPTY.value.enable)
    assert bench.identify() is Iir.NONE
    bench.set(bench.registers.ier, 0)
    bench.set(bench.registers.ier, Source.THR_EMPTY.value.enable)
    assert bench.identify() is Iir.THR_EMPTY


@pytest.mark.parametrize("error", [LineError.PARITY, LineError.FRAMING, LineError.BREAK])
def test_each_line_error_is_a_line_status_interrupt(error: LineError) -> None:
    """8.4, note: bits 1 through 4 produce a receiver line status interrupt."""
    bench = ChipRig()
    bench.set_up()
    bench.send(b"" if error is LineError.BREAK else b"x", error)
    assert bench.identify() is Iir.LINE_STATUS


def test_the_line_is_a_level_and_its_rises_are_counted() -> None:
    """6.0, INTR: high whenever an enabled interrupt has an active condition."""
    bench = ChipRig()
    bench.set_up(ier=Source.RECEIVED_DATA.value.enable)
    bench.send(b"a")
    bench.send(b"b")
    risen = bench.device.interrupt.sequence
    bench.read(2)
    bench.send(b"c")
    assert (risen, bench.device.interrupt.sequence, bench.asserted) == (1, 2, True)
    assert bench.chip.interrupts.raised == {"received_data": 2}


def test_out2_does_not_gate_the_interrupt() -> None:
    """8.8, bit 3: OUT 2 is a user-designated output; what PC boards do with it is not the chip."""
    bench = ChipRig()
    bench.set_up()
    bench.send(b"a")
    assert not bench.get(bench.registers.mcr)
    assert bench.asserted


def test_a_refill_from_several_messages_does_not_release_the_line() -> None:
    """Unpaced, there is no time between a read and the next character in which INTR could fall."""
    bench = ChipRig()
    bench.set_up(ier=Source.RECEIVED_DATA.value.enable, trigger=TRIGGER)
    for _ in range(30):
        bench.send(b"ab")
    bench.device.read_run(bench.registers.rbr.offset, 1, 16)
    assert bench.asserted
    assert bench.chip.interrupts.raised == {"received_data": 1}
