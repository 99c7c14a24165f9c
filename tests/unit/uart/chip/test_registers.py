"""The register window of the NS16550A (PC16550D data sheet, tables I and II, 8.0 to 8.10)."""

from __future__ import annotations

import pytest

from tests.support.chip_rig import EIGHT_BITS, ChipRig
from virtmesh.host.metrics import device_metrics
from virtmesh.uart.port import FarLines, LineFormat
from virtmesh_common.errors import (
    BadValue,
    BadWidth,
    Misaligned,
    NotWritable,
    RegisterError,
    UnknownRegister,
)
from virtmesh_common.uart.spec import Ier, Layout, Lcr, Lsr, Mcr

DLAB = int(Lcr.DLAB)


@pytest.fixture
def bench() -> ChipRig:
    """Make a port as it comes out of a master reset."""
    return ChipRig()


@pytest.mark.parametrize(
    ("name", "value"),
    [("ier", 0), ("iir", 0x01), ("lcr", 0), ("mcr", 0), ("lsr", 0x60), ("msr", 0xB0), ("scr", 0)],
)
def test_master_reset_puts_the_registers_into_their_reset_state(
    bench: ChipRig, name: str, value: int
) -> None:
    """Table I: IIR 01, LSR 60, the others 0; MSR bits 7 to 4 are driven by the input signals."""
    bench.set_up()
    bench.set(bench.registers.mcr, 0x1F)
    bench.set(bench.registers.scr, 0x5A)
    bench.write(b"x")
    bench.device.begin_reset()
    assert bench.get(getattr(bench.registers, name)) == value
    assert not bench.asserted


def test_master_reset_leaves_the_divisor_latches(bench: ChipRig) -> None:
    """6.0, MR: all registers are cleared, except the divisor latches."""
    bench.set_divisor(0x1234)
    bench.device.begin_reset()
    bench.set(bench.registers.lcr, DLAB)
    assert (bench.get(bench.registers.dll), bench.get(bench.registers.dlm)) == (0x34, 0x12)


def test_dlab_gives_access_to_the_divisor_latches(bench: ChipRig) -> None:
    """8.1, bit 7: high to access the divisor latches, low to access RBR, THR and IER."""
    registers = bench.registers
    bench.set(registers.ier, Ier.ELSI)
    bench.set(registers.lcr, DLAB)
    bench.set(registers.dll, 0x42)
    bench.set(registers.dlm, 0x01)
    latch = (bench.get(registers.dll), bench.get(registers.dlm))
    bench.set(registers.lcr, 0)
    assert (latch, bench.get(registers.ier)) == ((0x42, 0x01), Ier.ELSI)
    assert bench.take_sent() == b""


def test_the_divisor_latch_does_not_reach_the_receiver(bench: ChipRig) -> None:
    """8.1, bit 7: with DLAB the first place is no receiver buffer, so that nothing is read."""
    bench.set_up()
    bench.send(b"a")
    bench.set(bench.registers.lcr, EIGHT_BITS | DLAB)
    bench.get(bench.registers.dll)
    bench.set(bench.registers.lcr, EIGHT_BITS)
    assert bench.read_all() == b"a"


def test_the_scratchpad_holds_any_byte(bench: ChipRig) -> None:
    """8.10: it does not control the UART in any way."""
    for value in range(256):
        bench.set(bench.registers.scr, value)
        assert bench.get(bench.registers.scr) == value


@pytest.mark.parametrize(
    ("name", "kept"), [("ier", 0x0F), ("mcr", 0x1F), ("lcr", 0xFF), ("scr", 0xFF)]
)
def test_bits_that_the_chip_does_not_have_are_zero(bench: ChipRig, name: str, kept: int) -> None:
    """8.7: IER bits 4 to 7 are always 0. 8.8: MCR bits 5 to 7 are permanently 0."""
    register = getattr(bench.registers, name)
    bench.set(register, 0xFF)
    assert bench.get(register) == kept


def test_iir_shows_whether_the_fifos_are_enabled(bench: ChipRig) -> None:
    """8.6: bits 6 and 7 are set when FCR0 = 1, bits 4 and 5 are always 0."""
    before = bench.get(bench.registers.iir)
    bench.set(bench.registers.fcr, 0x01)
    enabled = bench.get(bench.registers.iir)
    bench.set(bench.registers.fcr, 0x00)
    assert (before, enabled, bench.get(bench.registers.iir)) == (0x01, 0xC1, 0x01)


@pytest.mark.parametrize("name", ["lsr", "msr"])
def test_status_registers_are_read_only(bench: ChipRig, name: str) -> None:
    """8.4: LSR is for reads only; what a write does at the factory is not offered."""
    with pytest.raises(NotWritable, match="read-only"):
        bench.set(getattr(bench.registers, name), 0xFF)
    assert bench.get(bench.registers.lsr) == 0x60


@pytest.mark.parametrize(
    ("offset", "width", "error"),
    [(0, 2, BadWidth), (0, 4, BadWidth), (0, 3, BadWidth), (8, 1, UnknownRegister)],
)
def test_bad_accesses_are_refused_and_counted(
    bench: ChipRig, offset: int, width: int, error: type[RegisterError]
) -> None:
    """A width that no register has, or a place that is not there."""
    with pytest.raises(error):
        bench.device.read(offset, width)
    with pytest.raises(error):
        bench.device.write(offset, width, 0)
    refused = {
        sample.labels["reason"]: sample.value
        for metric in device_metrics(bench.device)
        for sample in metric.samples
        if sample.name == "virtmesh_register_refused_total"
    }
    assert refused == {error.reason: 2}


def test_a_value_beyond_the_register_is_refused(bench: ChipRig) -> None:
    """A byte holds 255."""
    with pytest.raises(BadValue):
        bench.device.write(7, 1, 256)


@pytest.mark.parametrize(
    ("shift", "width"), [(0, 1), (1, 1), (2, 1), (1, 2), (2, 2), (2, 4), (4, 4)]
)
def test_registers_can_be_apart_and_wide(shift: int, width: int) -> None:
    """reg-shift spreads the places, reg-io-width is the one width of an access."""
    bench = ChipRig(layout=Layout(shift, width))
    bench.device.write(7 << shift, width, 0x5A)
    assert bench.device.read(7 << shift, width) == 0x5A
    assert bench.device.description.mmio_size_bytes == 8 << shift
    with pytest.raises(RegisterError):
        bench.device.read(8 << shift, width)


def test_the_upper_bits_of_a_wide_register_mean_nothing() -> None:
    """They are ignored when written, and read as 0."""
    bench = ChipRig(layout=Layout(2, 4))
    bench.set(bench.registers.scr, 0xDEAD_BE5A)
    bench.set(bench.registers.lcr, 0xFFFF_FF03)
    bench.set(bench.registers.thr, 0xFFFF_FF41)
    assert bench.get(bench.registers.scr) == 0x5A
    assert bench.take_sent() == b"A"


def test_runs_on_wide_registers_are_runs_of_bytes() -> None:
    """Both ways, in one piece; the upper bits mean nothing here too."""
    bench = ChipRig(layout=Layout(2, 4))
    bench.set_up()
    bench.send(bytes(range(100)))
    read = bench.device.read_run(0, 4, 100)
    written = bench.device.write_run(0, 4, [0xFFFF_FF41, 0x42])
    assert (bytes(read), written, bench.take_sent()) == (bytes(range(100)), 2, b"AB")
    assert bench.device.write_run(0, 4, [1 << 32, 1]) == 0
    assert bench.device.read_run(0, 1, 2) == b""


def test_places_between_spread_registers_hold_nothing() -> None:
    """With a reg-shift of 2, offset 1 belongs to no register of one byte."""
    bench = ChipRig(layout=Layout(2, 1))
    with pytest.raises(UnknownRegister):
        bench.device.read(1, 1)


def test_wide_registers_are_accessed_aligned() -> None:
    """An access begins where its register does."""
    bench = ChipRig(layout=Layout(2, 4))
    with pytest.raises(Misaligned):
        bench.device.read(2, 4)


def test_what_is_only_written_is_not_read_back(bench: ChipRig) -> None:
    """Table II: THR and FCR are write only; a read of their places is one of RBR, and of IIR."""
    bench.set_up(ier=0)
    bench.send(b"r")
    bench.set(bench.registers.thr, 0x74)
    bench.set(bench.registers.fcr, 0x89)
    assert bench.device.read(bench.registers.thr.offset, 1) == 0x72
    assert bench.device.read(bench.registers.fcr.offset, 1) == 0xC1


@pytest.mark.parametrize(
    ("lcr", "data_bits", "parity", "stop_half_bits"),
    [
        (0x00, 5, "N", 2),
        (0x01, 6, "N", 2),
        (0x02, 7, "N", 2),
        (0x03, 8, "N", 2),
        (0x04, 5, "N", 3),
        (0x05, 6, "N", 4),
        (0x07, 8, "N", 4),
        (0x0B, 8, "O", 2),
        (0x1B, 8, "E", 2),
        (0x2B, 8, "M", 2),
        (0x3B, 8, "S", 2),
        (0x33, 8, "N", 2),
    ],
)
def test_the_line_control_register_sets_the_format(
    bench: ChipRig, lcr: int, data_bits: int, parity: str, stop_half_bits: int
) -> None:
    """8.1: bits 0 and 1 the length, 2 the stop bits (1.5 for 5 bits), 3 to 5 the parity."""
    bench.set(bench.registers.lcr, lcr)
    told = LineFormat(9600, data_bits, parity, stop_half_bits)
    assert bench.chip.format == told
    assert bench.told in ([], [told])


@pytest.mark.parametrize(
    ("divisor", "baud"), [(1, 230400), (2, 115200), (24, 9600), (2096, 110), (0xFFFF, 4), (0, 0)]
)
def test_the_divisor_sets_the_baud_rate(bench: ChipRig, divisor: int, baud: int) -> None:
    """8.3: divisor = frequency / (baud rate x 16). With 0 there is no baud rate."""
    bench.set_divisor(divisor)
    assert bench.chip.format.baud == baud


def test_the_far_end_is_told_a_divisor_when_it_is_complete(bench: ChipRig) -> None:
    """While DLAB is set, the divisor may be half written."""
    bench.set_divisor(0x0102)
    assert bench.told == [LineFormat(893, 5, "N", 2)]


def test_the_word_length_cuts_characters(bench: ChipRig) -> None:
    """8.1: bits 0 and 1 are the number of bits in each transmitted or received character."""
    bench.set_up(lcr=0x02)
    bench.write(b"\xc1\x7f")
    bench.send(b"\xff\xe1")
    assert (bench.take_sent(), bench.read_all()) == (b"\x41\x7f", b"\x7f\x61")


def test_a_reset_discards_what_was_received_and_keeps_what_waits() -> None:
    """What is on the line has not arrived: it comes to the next driver."""
    bench = ChipRig()
    bench.set_up(trigger=14)
    bench.send(bytes(range(20)))
    bench.device.begin_reset()
    assert (bench.device.uart_counters.discarded, bench.line.waiting) == (16, 4)
    bench.set_up(trigger=14)
    assert bench.read_all() == bytes(range(16, 20))


def test_what_was_sent_before_the_driver_came_is_all_there() -> None:
    """A sender that waits for room also waits for somebody who listens."""
    bench = ChipRig()
    bench.send(bytes(range(100)))
    bench.device.begin_reset()
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.set(bench.registers.mcr, 0)
    bench.set(bench.registers.lcr, EIGHT_BITS)
    bench.set(bench.registers.fcr, 0xC7)
    assert bench.line.waiting == 100
    assert bench.read_all() == bytes(range(100))
    assert bench.device.uart_counters.discarded == 0


def test_the_lines_of_the_far_end_outlive_a_reset(bench: ChipRig) -> None:
    """Table I, note 2: MSR bits 7 to 4 are driven by the input signals; the deltas are cleared."""
    bench.line.set_lines(FarLines(cts=False, ri=True))
    bench.device.begin_reset()
    assert bench.get(bench.registers.msr) == 0xE0


def test_lsr_bit_7_is_zero_in_character_mode(bench: ChipRig) -> None:
    """8.4, bit 7: in the 16450 mode this is a 0."""
    assert not bench.get(bench.registers.lsr) & Lsr.ERROR_IN_RCVR_FIFO
