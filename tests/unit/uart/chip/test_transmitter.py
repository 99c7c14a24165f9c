"""The transmitter of the NS16550A (PC16550D data sheet, 8.1, 8.4, 8.5, 8.11)."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.support.chip_rig import EIGHT_BITS, ChipRig
from virtmesh.uart.port import FarLines, LineFormat, PortLines
from virtmesh_common.uart.spec import FIFO_SIZE, Fcr, Ier, Iir, Lcr, Lsr, Mcr


def make(*, ier: int = Ier.ETBEI, fifo: bool = True, pace: bool = True) -> ChipRig:
    """Make a port that a driver has set up, its first THRE interrupt acknowledged."""
    bench = ChipRig(pace=pace)
    bench.set_up(ier=ier, fifo=fifo)
    bench.get(bench.registers.iir)
    bench.told.clear()
    return bench


def status(bench: ChipRig) -> Lsr:
    """Read THRE and TEMT."""
    return Lsr(bench.get(bench.registers.lsr)) & (Lsr.THRE | Lsr.TEMT)


IDLE = Lsr.THRE | Lsr.TEMT


def test_characters_take_their_time() -> None:
    """8.3: the baud generator paces the line; a character of 8N1 has 10 bits."""
    bench = make()
    bench.write(b"abc")
    sent = []
    for _ in range(4):
        bench.pass_characters(0.99)
        sent.append(bytes(bench.sent))
        bench.pass_characters(0.01)
    assert sent == [b"", b"a", b"ab", b"abc"]


def test_thre_is_set_when_the_holding_register_is_empty() -> None:
    """8.4, bit 5: set when a character is transferred from THR into the shift register."""
    bench = make(fifo=False)
    bench.write(b"a")
    first = status(bench)
    bench.write(b"b")
    second = status(bench)
    bench.pass_characters(1)
    third = status(bench)
    bench.pass_characters(1)
    assert [first, second, third, status(bench)] == [Lsr.THRE, Lsr(0), Lsr.THRE, IDLE]


def test_thre_is_set_when_the_fifo_is_empty() -> None:
    """8.4, bit 5: in FIFO mode set when the XMIT FIFO is empty, cleared with at least 1 byte."""
    bench = make()
    bench.write(b"abc")
    seen = []
    for _ in range(3):
        seen.append(status(bench))
        bench.pass_characters(1)
    assert [*seen, status(bench)] == [Lsr(0), Lsr(0), Lsr.THRE, IDLE]


def test_temt_is_set_when_fifo_and_shift_register_are_empty() -> None:
    """8.4, bit 6: set whenever the transmitter FIFO and shift register are both empty."""
    bench = make()
    bench.write(b"a")
    bench.pass_characters(0.99)
    before = status(bench) & Lsr.TEMT
    bench.pass_characters(0.02)
    assert (before, status(bench)) == (Lsr(0), IDLE)


def test_the_thre_interrupt_comes_when_the_fifo_is_empty() -> None:
    """8.11, XMIT A: occurs when the XMIT FIFO is empty, cleared by a write of THR."""
    bench = make()
    bench.write(b"abc")
    before = bench.identify()
    bench.pass_characters(2)
    assert bench.asserted
    assert (before, bench.identify(), bench.identify()) == (Iir.NONE, Iir.THR_EMPTY, Iir.NONE)


def test_thre_is_delayed_after_a_single_character() -> None:
    """8.11, XMIT B: by a character time minus the last stop bit time."""
    bench = make()
    bench.write(b"a")
    seen = [status(bench)]
    bench.pass_characters(0.89)
    seen.append(status(bench))
    bench.pass_characters(0.02)
    assert [*seen, status(bench)] == [Lsr(0), Lsr(0), Lsr.THRE]
    assert bench.identify() is Iir.THR_EMPTY


def test_thre_is_not_delayed_after_two_characters_together() -> None:
    """8.11, XMIT B: only if there have not been two bytes in the FIFO at the same time."""
    bench = make()
    bench.write(b"abc")
    bench.pass_characters(2)
    assert status(bench) == Lsr.THRE


def test_what_was_together_before_the_last_thre_does_not_count() -> None:
    """8.11, XMIT B: since the last THRE = 1."""
    bench = make()
    bench.write(b"abc")
    bench.pass_characters(3)
    bench.write(b"d")
    bench.pass_characters(0.89)
    assert status(bench) == Lsr(0)


def test_enabling_thre_while_characters_wait_does_not_interrupt_yet() -> None:
    """8.11, XMIT A: the interrupt occurs when the XMIT FIFO is empty."""
    bench = make(ier=0)
    bench.write(b"abc")
    bench.set(bench.registers.ier, Ier.ETBEI)
    before = bench.identify()
    bench.pass_characters(2)
    assert (before, bench.identify()) == (Iir.NONE, Iir.THR_EMPTY)


def test_two_characters_apart_are_not_together() -> None:
    """8.11, XMIT B: the second one was alone in the FIFO, so that THRE is delayed once more."""
    bench = make()
    bench.write(b"a")
    bench.pass_characters(0.5)
    bench.write(b"b")
    bench.pass_characters(0.51)
    began = status(bench)
    bench.pass_characters(0.9)
    assert (began, status(bench)) == (Lsr(0), Lsr.THRE)


def test_there_is_no_delay_in_character_mode() -> None:
    """8.11, XMIT B is about the FIFO."""
    bench = make(fifo=False)
    bench.write(b"a")
    assert status(bench) == Lsr.THRE
    assert bench.identify() is Iir.THR_EMPTY


def test_the_first_interrupt_after_a_change_of_mode_is_immediate() -> None:
    """8.11, XMIT B: the first transmitter interrupt after changing FCR0 is immediate."""
    bench = make(fifo=False)
    before = bench.identify()
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE)
    assert (before, bench.identify(), bench.identify()) == (Iir.NONE, Iir.THR_EMPTY, Iir.NONE)


def test_the_fifo_takes_sixteen_beside_the_shift_register() -> None:
    """8.5; 8.11, XMIT A: 1 to 16 characters may be written while servicing the interrupt."""
    bench = make()
    bench.write(bytes(range(18)))
    bench.pass_characters(20)
    assert bench.take_sent() == bytes(range(17))
    assert bench.device.uart_counters.transmit_overruns == 1


def test_a_character_written_over_another_destroys_it() -> None:
    """8.4, bit 5: THRE tells that the UART is ready to accept a character; here it is not."""
    bench = make(fifo=False)
    bench.write(b"abc")
    bench.pass_characters(5)
    assert bench.take_sent() == b"ac"
    assert bench.device.uart_counters.transmit_overruns == 1


def test_the_transmitter_reset_clears_the_fifo_and_not_the_shift_register() -> None:
    """8.5, bit 2: clears all bytes in the XMIT FIFO; the shift register is not cleared."""
    bench = make()
    bench.write(b"abc")
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | Fcr.XMIT_FIFO_RESET)
    assert status(bench) == Lsr.THRE
    assert bench.identify() is Iir.THR_EMPTY
    bench.pass_characters(5)
    assert bench.take_sent() == b"a"


def test_a_change_of_mode_clears_the_fifo() -> None:
    """8.5, bit 0: resetting FCR0 clears all bytes in both FIFOs."""
    bench = make()
    bench.write(b"abc")
    bench.set(bench.registers.fcr, 0)
    bench.pass_characters(5)
    assert bench.take_sent() == b"a"
    assert bench.device.uart_counters.discarded == 2


def test_with_a_divisor_of_0_the_line_stands_still() -> None:
    """8.3: a divisor of zero is not recommended. Set to another, the line goes on."""
    bench = make()
    bench.set_divisor(0)
    bench.write(b"a")
    bench.send(b"b")
    bench.clock.advance(1000)
    stood = (bench.take_sent(), bench.read_all())
    bench.set_divisor(24)
    bench.pass_characters(1)
    assert (stood, bench.take_sent(), bench.read_all()) == ((b"", b""), b"a", b"b")


def test_a_new_divisor_counts_for_what_is_under_way() -> None:
    """8.3: upon loading either divisor latch, the baud counter is immediately loaded."""
    bench = make(ier=Ier.ERBFI)
    bench.set_divisor(0xFFFF)
    bench.write(b"a")
    bench.send(b"b")
    bench.pass_characters(0.25)
    bench.set_divisor(0)
    bench.set_divisor(24)
    bench.pass_characters(0.74)
    before = (bench.take_sent(), bench.chip.receiver.level)
    bench.pass_characters(0.02)
    assert (before, bench.take_sent(), bench.read_all()) == ((b"", 0), b"a", b"b")


def test_a_divisor_of_0_is_logged_once() -> None:
    """A driver that sets it again and again fills no log."""
    bench = make()
    with capture_logs() as logged:
        for divisor in (0, 24, 0, 0):
            bench.set_divisor(divisor)
    assert [one["event"] for one in logged] == ["the divisor is 0: there is no baud rate"]


def test_a_slow_clock_is_not_taken_for_a_divisor_of_0() -> None:
    """Less than half a baud rounds to 0; it is a baud rate all the same."""
    bench = ChipRig(clock=100)
    with capture_logs() as logged:
        bench.set_divisor(24)
    assert not logged


def test_a_reset_cuts_off_what_is_being_sent() -> None:
    """6.0, MR: SOUT is marking; what was not sent is counted."""
    bench = make()
    bench.write(b"abc")
    bench.device.begin_reset()
    bench.pass_characters(10)
    assert (bench.take_sent(), bench.device.uart_counters.discarded) == (b"", 3)


def test_a_reset_does_not_undo_what_was_sent_before_it() -> None:
    """However late the event loop is: those characters had left the port."""
    bench = make()
    bench.write(b"abc")
    bench.clock.jump(bench.character_seconds * 2.5)
    bench.device.begin_reset()
    assert (bench.take_sent(), bench.device.uart_counters.discarded) == (b"ab", 1)


def test_a_break_is_sent_while_its_bit_is_set() -> None:
    """8.1, bit 6: SOUT is forced to the spacing state, and nothing else is changed."""
    bench = make(pace=False)
    bench.set(bench.registers.lcr, EIGHT_BITS | Lcr.SET_BREAK)
    bench.write(b"lost")
    bench.set(bench.registers.lcr, EIGHT_BITS)
    bench.write(b"sent")
    assert bench.told == [PortLines(break_sent=True), PortLines()]
    assert bench.take_sent() == b"sent"
    assert bench.device.uart_counters.breaks_sent == 1


def test_unpaced_a_character_is_sent_when_it_is_written() -> None:
    """Without time, THRE and TEMT are always set, and each write interrupts anew."""
    bench = make(pace=False)
    bench.write(b"a")
    assert (bench.take_sent(), status(bench)) == (b"a", IDLE)
    assert (bench.identify(), bench.identify()) == (Iir.THR_EMPTY, Iir.NONE)
    bench.write(b"b")
    assert bench.identify() is Iir.THR_EMPTY


def test_all_bytes_pass() -> None:
    """Eight bits are eight bits."""
    bench = make(pace=False)
    bench.write(bytes(range(256)))
    assert bench.take_sent() == bytes(range(256))


# -- Automatic flow control (MCR bit 5, of the chip's successors) ---


def test_the_chip_has_no_automatic_flow_control_of_its_own() -> None:
    """8.8: bits 5 through 7 of MCR are permanently 0, unless the device is told to have AFE."""
    plain, later = ChipRig(), ChipRig(auto_flow=True)
    for bench in (plain, later):
        bench.set(bench.registers.mcr, Mcr.AFE)
    assert [bench.get(bench.registers.mcr) for bench in (plain, later)] == [0, Mcr.AFE]


@pytest.mark.parametrize("pace", [False, True])
def test_without_cts_the_transmitter_stops_after_its_character(pace: bool) -> None:  # noqa: FBT001
    """TL16C550C, auto-CTS: the transmitter sends the next character only while CTS is active."""
    bench = ChipRig(auto_flow=True, pace=pace)
    bench.set_up(ier=0)
    bench.set(bench.registers.mcr, Mcr.AFE)
    bench.line.set_lines(FarLines(cts=False))
    bench.write(bytes(FIFO_SIZE + 1))
    bench.pass_characters(100)
    stopped = (bench.take_sent(), status(bench), bench.device.uart_counters.transmit_overruns)
    bench.line.set_lines(FarLines(cts=True))
    bench.pass_characters(100)
    assert stopped == (b"", Lsr(0), 1)
    assert (bench.take_sent(), status(bench)) == (bytes(FIFO_SIZE), IDLE)


@pytest.mark.parametrize(
    ("trigger", "off_at", "on_at"), [(1, 1, 0), (4, 4, 0), (8, 8, 0), (14, 16, 15)]
)
def test_rts_follows_the_receive_fifo(trigger: int, off_at: int, on_at: int) -> None:
    """TL16C550C, auto-RTS: inactive at the trigger level (14: full), active again when emptied."""
    bench = ChipRig(auto_flow=True)
    bench.set_up(ier=0, trigger=trigger)
    bench.get(bench.registers.lsr)
    bench.set(bench.registers.mcr, Mcr.AFE | Mcr.RTS)
    bench.send(bytes(off_at - 1))
    seen = [bench.chip.port_lines.rts]
    bench.send(b"x")
    seen.append(bench.chip.port_lines.rts)
    bench.read(off_at - on_at - 1)
    seen.append(bench.chip.port_lines.rts)
    bench.read(1)
    assert [*seen, bench.chip.port_lines.rts] == [True, False, False, True]


def test_a_sender_that_looks_stops_at_rts() -> None:
    """A writer that waits for room honours automatic RTS; nothing is lost."""
    bench = ChipRig(auto_flow=True)
    bench.set_up(trigger=4)
    bench.set(bench.registers.mcr, Mcr.AFE | Mcr.RTS)
    bench.send(bytes(range(100)))
    held = bench.chip.receiver.level
    assert (held, bench.read_all()) == (4, bytes(range(100)))


def test_the_format_of_a_reset_port_is_told() -> None:
    """A reset puts LCR to 0: five bits."""
    bench = make(pace=False)
    bench.device.begin_reset()
    assert bench.told == [LineFormat(9600, 5, "N", 2)]
