"""The modem lines and loopback of the NS16550A (PC16550D data sheet, 8.8, 8.9)."""

from __future__ import annotations

import pytest

from tests.support.chip_rig import ALL_INTERRUPTS, ChipRig
from virtmesh.uart.port import FarLines, Flow, LineError, PortLines
from virtmesh_common.uart.spec import Ier, Iir, Lsr, Mcr, Msr

OFF = FarLines(cts=False, dsr=False, ri=False, dcd=False)
LINES = [
    (FarLines(cts=True, dsr=False, dcd=False), Msr.CTS, Msr.DCTS),
    (FarLines(cts=False, dsr=True, dcd=False), Msr.DSR, Msr.DDSR),
    (FarLines(cts=False, dsr=False, dcd=True), Msr.DCD, Msr.DDCD),
]
LOOPED = [(Mcr.RTS, Msr.CTS), (Mcr.DTR, Msr.DSR), (Mcr.OUT1, Msr.RI), (Mcr.OUT2, Msr.DCD)]
OUTPUTS = [
    (Mcr.DTR, PortLines(dtr=True)),
    (Mcr.RTS, PortLines(rts=True)),
    (Mcr.OUT1, PortLines(out1=True)),
    (Mcr.OUT2, PortLines(out2=True)),
]


@pytest.fixture
def bench() -> ChipRig:
    """Make a port whose far end asserts nothing, with nothing to tell of."""
    bench = ChipRig()
    bench.set_up(ier=Ier.EDSSI)
    bench.line.set_lines(OFF)
    bench.get(bench.registers.msr)
    bench.told.clear()
    return bench


@pytest.mark.parametrize(("lines", "bit", "delta"), LINES)
def test_msr_shows_a_line_and_its_change(
    bench: ChipRig, lines: FarLines, bit: Msr, delta: Msr
) -> None:
    """8.9: bits 4 to 7 are the current state; bits 0, 1 and 3 tell of a change of state."""
    bench.line.set_lines(lines)
    on = bench.get(bench.registers.msr)
    bench.line.set_lines(OFF)
    assert (on, bench.get(bench.registers.msr)) == (bit | delta, delta)


def test_ri_tells_of_its_trailing_edge_only(bench: ChipRig) -> None:
    """8.9, bit 2: TERI: RI has changed from a low to a high state, that is, ringing has ended."""
    bench.line.set_lines(FarLines(cts=False, dsr=False, ri=True, dcd=False))
    ringing = (bench.get(bench.registers.msr), bench.identify())
    bench.line.set_lines(OFF)
    assert ringing == (Msr.RI, Iir.NONE)
    assert bench.identify() is Iir.MODEM_STATUS
    assert bench.get(bench.registers.msr) == Msr.TERI


def test_reading_msr_resets_the_deltas(bench: ChipRig) -> None:
    """8.9: reset to logic 0 whenever the CPU reads MSR."""
    bench.line.set_lines(FarLines())
    first, second = bench.get(bench.registers.msr), bench.get(bench.registers.msr)
    assert (first & 0x0F, second & 0x0F) == (0x0B, 0)


@pytest.mark.parametrize("lines", [lines for lines, _, _ in LINES])
def test_each_change_is_a_modem_status_interrupt(bench: ChipRig, lines: FarLines) -> None:
    """8.9, note: whenever bit 0, 1, 2 or 3 is set, a modem status interrupt is generated."""
    bench.line.set_lines(lines)
    assert (bench.identify(), bench.asserted) == (Iir.MODEM_STATUS, True)
    bench.get(bench.registers.msr)
    assert (bench.identify(), bench.asserted) == (Iir.NONE, False)


def test_a_line_that_comes_back_has_changed(bench: ChipRig) -> None:
    """8.9, bit 0: has changed state since the last time it was read."""
    bench.line.set_lines(FarLines())
    bench.line.set_lines(OFF)
    assert bench.get(bench.registers.msr) == Msr.DCTS | Msr.DDSR | Msr.DDCD


@pytest.mark.parametrize(("bit", "lines"), OUTPUTS)
def test_mcr_drives_the_outputs(bench: ChipRig, bit: Mcr, lines: PortLines) -> None:
    """8.8, bits 0 to 3."""
    bench.set(bench.registers.mcr, bit)
    bench.set(bench.registers.mcr, 0)
    assert bench.told == [lines, PortLines()]


# -- Loopback ---


@pytest.mark.parametrize(("output", "input_"), LOOPED)
def test_in_loopback_the_outputs_are_the_inputs(bench: ChipRig, output: Mcr, input_: Msr) -> None:
    """8.9, bits 4 to 7: with loop set, equivalent to RTS, DTR, OUT 1 and OUT 2 in MCR."""
    bench.set(bench.registers.mcr, Mcr.LOOP | output)
    assert bench.get(bench.registers.msr) & 0xF0 == input_


def test_in_loopback_the_inputs_are_disconnected(bench: ChipRig) -> None:
    """8.8, bit 4: the four modem control inputs are disconnected."""
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.line.set_lines(FarLines(ri=True))
    looped = bench.get(bench.registers.msr)
    bench.set(bench.registers.mcr, 0)
    assert (looped, bench.get(bench.registers.msr) & 0xF0) == (0, 0xF0)


def test_in_loopback_the_outputs_are_inactive(bench: ChipRig) -> None:
    """8.8, bit 4: the modem control output pins are forced to their inactive state."""
    bench.set(bench.registers.mcr, 0x0F)
    bench.set(bench.registers.mcr, 0x1F)
    assert bench.told[-1] == PortLines()


@pytest.mark.parametrize(
    ("output", "delta"), [(Mcr.RTS, Msr.DCTS), (Mcr.DTR, Msr.DDSR), (Mcr.OUT2, Msr.DDCD)]
)
def test_in_loopback_modem_interrupts_come_from_mcr(
    bench: ChipRig, output: Mcr, delta: Msr
) -> None:
    """8.8, bit 4: their sources are now the lower four bits of MCR."""
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.set(bench.registers.mcr, Mcr.LOOP | output)
    assert bench.identify() is Iir.MODEM_STATUS
    assert bench.get(bench.registers.msr) & 0x0F == delta


def test_in_loopback_ri_tells_of_its_trailing_edge(bench: ChipRig) -> None:
    """8.9, bits 2 and 6: RI is OUT 1."""
    bench.set(bench.registers.mcr, Mcr.LOOP | Mcr.OUT1)
    bench.get(bench.registers.msr)
    bench.set(bench.registers.mcr, Mcr.LOOP)
    assert bench.get(bench.registers.msr) == Msr.TERI


@pytest.mark.parametrize("fifo", [False, True])
def test_in_loopback_what_is_sent_is_received(fifo: bool) -> None:  # noqa: FBT001
    """8.8, bit 4: the output of the shift register is looped back; SOUT is marking."""
    bench = ChipRig()
    bench.set_up(fifo=fifo, ier=Ier.ERBFI)
    bench.set(bench.registers.mcr, Mcr.LOOP)
    received = []
    for value in range(256):
        bench.write(bytes((value,)))
        received.append((bench.identify(), bench.read(1)))
    assert received == [(Iir.RECEIVED_DATA, bytes((value,))) for value in range(256)]
    assert bench.take_sent() == b""


def test_in_loopback_the_receiver_can_overrun() -> None:
    """8.8, bit 4: receiver and transmitter interrupts are fully operational."""
    bench = ChipRig()
    bench.set_up(ier=ALL_INTERRUPTS)
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.write(bytes(17))
    assert bench.identify() is Iir.LINE_STATUS
    assert bench.get(bench.registers.lsr) & Lsr.OE


def test_paced_loopback_takes_a_character_time() -> None:
    """8.8, bit 4: what the shift register has put out is received."""
    bench = ChipRig(pace=True)
    bench.set_up(ier=0)
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.write(b"a")
    bench.pass_characters(0.99)
    before = bench.read_all()
    bench.pass_characters(0.02)
    assert (before, bench.read_all()) == (b"", b"a")


def test_in_loopback_a_sender_that_looks_waits() -> None:
    """8.8, bit 4: SIN is disconnected; what waits for room is kept until it is connected."""
    bench = ChipRig()
    bench.set_up()
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.send(b"abc")
    looped = bench.read_all()
    bench.set(bench.registers.mcr, 0)
    assert (looped, bench.read_all()) == (b"", b"abc")


@pytest.mark.parametrize("error", [LineError.NONE, LineError.PARITY])
def test_in_loopback_a_sender_that_does_not_look_is_not_heard(error: LineError) -> None:
    """8.8, bit 4: SIN is disconnected; the characters are counted as thrown away."""
    bench = ChipRig()
    bench.set_up()
    bench.set(bench.registers.ier, 0)
    bench.set(bench.registers.mcr, Mcr.LOOP)
    bench.send(b"abc", error, Flow.NONE)
    bench.set(bench.registers.mcr, 0)
    assert bench.read_all() == b""
    assert bench.device.uart_counters.discarded == 3


def test_linux_finds_a_uart_by_its_loopback() -> None:
    """The 8250 driver's probe: in loopback, OUT2 and RTS read as DCD and CTS."""
    bench = ChipRig()
    bench.set(bench.registers.mcr, Mcr.LOOP | Mcr.OUT2 | Mcr.RTS)
    assert bench.get(bench.registers.msr) & 0xF0 == Msr.DCD | Msr.CTS
