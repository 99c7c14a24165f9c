"""The receiver of the NS16550A (PC16550D data sheet, 8.4, 8.5, 8.11)."""

from __future__ import annotations

import pytest

from tests.support.chip_rig import TRIGGER_BITS, ChipRig
from virtmesh.uart.port import Flow, LineError
from virtmesh_common.uart.spec import FIFO_SIZE, Fcr, Ier, Iir, Lsr

LEVELS = sorted(TRIGGER_BITS)
ERRORS = [
    (LineError.PARITY, Lsr.PE),
    (LineError.FRAMING, Lsr.FE),
    (LineError.BREAK, Lsr.BI),
]


def make(
    *, trigger: int = 1, ier: int = Ier.ERBFI, fifo: bool = True, pace: bool = False
) -> ChipRig:
    """Make a port that a driver has set up."""
    bench = ChipRig(pace=pace)
    bench.set_up(trigger=trigger, ier=ier, fifo=fifo)
    return bench


def send_broken(bench: ChipRig, error: LineError, data: bytes = b"x") -> None:
    """Send a character with an error."""
    bench.send(b"" if error is LineError.BREAK else data, error)


# -- Data ready and the trigger level ---


@pytest.mark.parametrize("fifo", [False, True])
def test_data_ready_is_set_until_all_is_read(fifo: bool) -> None:  # noqa: FBT001
    """8.4, bit 0: set when a character has been received, reset by reading all of the data."""
    bench = make(fifo=fifo)
    before = bench.get(bench.registers.lsr) & Lsr.DR
    bench.send(b"ab")
    seen = [bench.get(bench.registers.lsr) & Lsr.DR]
    for _ in range(2):
        bench.read(1)
        seen.append(bench.get(bench.registers.lsr) & Lsr.DR)
    assert (before, seen) == (0, [1, 1, 0])


@pytest.mark.parametrize("trigger", LEVELS)
def test_received_data_interrupts_at_the_trigger_level(trigger: int) -> None:
    """8.11, RCVR A and B: issued when the FIFO has reached its programmed trigger level."""
    bench = make(trigger=trigger)
    bench.send(bytes(trigger - 1))
    below = bench.identify()
    bench.send(b"x")
    assert (below, bench.identify()) == (Iir.NONE, Iir.RECEIVED_DATA)


@pytest.mark.parametrize("trigger", LEVELS)
def test_received_data_is_cleared_below_the_trigger_level(trigger: int) -> None:
    """8.11, RCVR A: cleared as soon as the FIFO drops below its programmed trigger level."""
    bench = make(trigger=trigger)
    bench.send(bytes(trigger + 1))
    bench.read(1)
    at_trigger = (bench.identify(), bench.asserted)
    bench.read(1)
    assert at_trigger == (Iir.RECEIVED_DATA, True)
    assert (bench.identify(), bench.asserted) == (Iir.NONE, False)


def test_in_character_mode_each_character_interrupts() -> None:
    """Table IV: receiver data available, reset by reading the receiver buffer register."""
    bench = make(fifo=False)
    bench.send(b"a")
    assert bench.identify() is Iir.RECEIVED_DATA
    assert bench.read(1) == b"a"
    assert bench.identify() is Iir.NONE


def test_the_fifo_holds_sixteen_characters() -> None:
    """8.5: the FIFOs are of 16 bytes; what finds no room waits on the line."""
    bench = make(trigger=14)
    bench.send(bytes(range(20)))
    assert (bench.chip.receiver.level, bench.line.waiting) == (FIFO_SIZE, 4)
    assert bench.read_all() == bytes(range(20))


# -- The FIFO control register ---


@pytest.mark.parametrize("fifo", [False, True])
def test_changing_the_mode_clears_what_was_received(fifo: bool) -> None:  # noqa: FBT001
    """8.5, bit 0: when changing mode, data is automatically cleared from the FIFOs."""
    bench = make(fifo=fifo)
    bench.send(b"a")
    bench.set(bench.registers.fcr, 0 if fifo else Fcr.FIFO_ENABLE)
    assert not bench.get(bench.registers.lsr) & Lsr.DR
    assert bench.device.uart_counters.discarded == 1


def test_enabling_the_fifos_makes_room_for_what_waits() -> None:
    """8.5, bit 0: the buffer is cleared; the line goes on without a further access."""
    bench = make(fifo=False)
    bench.send(b"abc")
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE)
    assert (bench.chip.receiver.level, bench.line.waiting) == (2, 0)


def test_writing_fcr_without_a_change_of_mode_keeps_the_data() -> None:
    """8.5, bit 0: only a change of mode clears; the trigger level alone can be written."""
    bench = make(trigger=1)
    bench.send(b"ab")
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | TRIGGER_BITS[8])
    assert bench.identify() is Iir.NONE
    assert bench.read_all() == b"ab"


def test_the_receiver_reset_clears_the_fifo_and_itself() -> None:
    """8.5, bit 1: clears all bytes in the RCVR FIFO; the 1 is self-clearing."""
    bench = make(trigger=14)
    bench.send(b"abc")
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | Fcr.RCVR_FIFO_RESET)
    cleared = bench.get(bench.registers.lsr) & Lsr.DR
    bench.send(b"d")
    assert (cleared, bench.read_all()) == (0, b"d")


def test_the_receiver_reset_clears_errors_of_what_it_clears() -> None:
    """Table I: FCR1 puts all bits of the RCVR FIFO low; each character has its error bits there."""
    bench = make()
    send_broken(bench, LineError.FRAMING)
    send_broken(bench, LineError.PARITY)
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | Fcr.RCVR_FIFO_RESET)
    assert bench.get(bench.registers.lsr) == Lsr.THRE | Lsr.TEMT


def test_the_receiver_reset_keeps_an_overrun() -> None:
    """Table I: INTR of receiver errors is reset by a read of LSR; an overrun has no character."""
    bench = make(ier=0)
    bench.send(bytes(17), flow=Flow.NONE)
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | Fcr.RCVR_FIFO_RESET)
    assert bench.get(bench.registers.lsr) == Lsr.OE | Lsr.THRE | Lsr.TEMT


def test_other_bits_of_fcr_count_only_with_bit_0() -> None:
    """8.5, bit 0: must be a 1 when other FCR bits are written, or they are not programmed."""
    bench = make(trigger=4)
    bench.set(bench.registers.fcr, TRIGGER_BITS[14])
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | TRIGGER_BITS[4])
    bench.send(bytes(4))
    assert bench.identify() is Iir.RECEIVED_DATA


# -- Overrun ---


def test_an_overrun_keeps_the_fifo_and_loses_the_new_character() -> None:
    """8.4, bit 1: the character in the shift register is overwritten, but not put in the FIFO."""
    bench = make(ier=0)
    bench.send(bytes(range(20)), flow=Flow.NONE)
    assert bench.get(bench.registers.lsr) & Lsr.OE
    assert bench.read_all() == bytes(range(16))
    assert bench.device.uart_counters.overruns == 4


def test_the_full_fifo_alone_is_no_overrun() -> None:
    """8.4, bit 1: an overrun occurs only after the FIFO is full and the next one is received."""
    bench = make(ier=0)
    bench.send(bytes(FIFO_SIZE), flow=Flow.NONE)
    assert not bench.get(bench.registers.lsr) & Lsr.OE


def test_in_character_mode_an_overrun_destroys_the_previous_character() -> None:
    """8.4, bit 1: the next character is transferred into RBR, destroying the previous one."""
    bench = make(ier=0, fifo=False)
    bench.get(bench.registers.lsr)
    bench.send(b"abc", flow=Flow.NONE)
    assert bench.get(bench.registers.lsr) & (Lsr.OE | Lsr.DR) == Lsr.OE | Lsr.DR
    assert bench.read_all() == b"c"
    assert bench.device.uart_counters.overruns == 2


def test_in_character_mode_a_character_with_an_error_can_overrun() -> None:
    """8.4, bits 1 and 3: both are shown until LSR is read, whatever comes after."""
    bench = make(ier=0, fifo=False)
    bench.send(b"a", flow=Flow.NONE)
    bench.send(b"b", LineError.FRAMING, Flow.NONE)
    bench.send(b"c", flow=Flow.NONE)
    assert bench.get(bench.registers.lsr) == Lsr.DR | Lsr.OE | Lsr.FE | Lsr.THRE | Lsr.TEMT
    assert bench.read_all() == b"c"


def test_an_overrun_is_indicated_as_soon_as_it_happens() -> None:
    """8.4, bit 1: not with a character, but at once; a line status interrupt."""
    bench = make(ier=Ier.ELSI)
    bench.get(bench.registers.lsr)
    bench.send(bytes(17), flow=Flow.NONE)
    assert bench.identify() is Iir.LINE_STATUS


def test_reading_lsr_resets_the_overrun() -> None:
    """8.4, bit 1: reset whenever the CPU reads the contents of LSR."""
    bench = make(ier=0)
    bench.send(bytes(17), flow=Flow.NONE)
    first, second = bench.get(bench.registers.lsr), bench.get(bench.registers.lsr)
    assert (first & Lsr.OE, second & Lsr.OE) == (Lsr.OE, 0)


# -- Errors with their characters ---


@pytest.mark.parametrize(("error", "bit"), ERRORS)
@pytest.mark.parametrize("fifo", [False, True])
def test_an_error_is_reset_by_reading_lsr(error: LineError, bit: Lsr, fifo: bool) -> None:  # noqa: FBT001
    """8.4, bits 2 to 4: set upon detection, reset whenever the CPU reads LSR."""
    bench = make(fifo=fifo)
    send_broken(bench, error)
    first, second = bench.get(bench.registers.lsr), bench.get(bench.registers.lsr)
    marks = Lsr.PE | Lsr.FE | Lsr.BI
    assert (first & marks, second & marks) == (bit, 0)


@pytest.mark.parametrize(("error", "bit"), ERRORS)
def test_an_error_is_revealed_when_its_character_is_at_the_top(error: LineError, bit: Lsr) -> None:
    """8.4, bits 2 to 4: in FIFO mode the error belongs to its character in the FIFO."""
    bench = make(ier=Ier.ELSI, trigger=14)
    bench.send(b"ab")
    send_broken(bench, error)
    bench.send(b"c")
    shown = [bench.get(bench.registers.lsr) & bit]
    for _ in range(3):
        bench.read(1)
        shown.append(bench.get(bench.registers.lsr) & bit)
    assert shown == [0, 0, bit, 0]


def test_the_line_status_interrupt_comes_with_the_character_at_the_top() -> None:
    """8.11, RCVR C; 8.4: no line status interrupt before the error is revealed."""
    bench = make(ier=Ier.ELSI, trigger=14)
    bench.send(b"a")
    send_broken(bench, LineError.PARITY)
    before = bench.identify()
    bench.read(1)
    assert (before, bench.identify()) == (Iir.NONE, Iir.LINE_STATUS)


def test_a_break_loads_one_zero_character() -> None:
    """8.4, bit 4: when break occurs only one zero character is loaded into the FIFO."""
    bench = make()
    bench.send(error=LineError.BREAK)
    assert bench.get(bench.registers.lsr) & (Lsr.BI | Lsr.DR) == Lsr.BI | Lsr.DR
    assert bench.read_all() == b"\0"
    assert bench.device.uart_counters.breaks == 1


def test_lsr_bit_7_tells_an_error_anywhere_in_the_fifo() -> None:
    """8.4, bit 7: set when there is at least one error or break in the FIFO."""
    bench = make(trigger=14)
    bench.send(b"ab")
    before = bench.get(bench.registers.lsr) & Lsr.ERROR_IN_RCVR_FIFO
    send_broken(bench, LineError.FRAMING)
    assert (before, bench.get(bench.registers.lsr) & Lsr.ERROR_IN_RCVR_FIFO) == (
        0,
        Lsr.ERROR_IN_RCVR_FIFO,
    )
    assert bench.get(bench.registers.lsr) & Lsr.ERROR_IN_RCVR_FIFO


def test_reading_lsr_clears_bit_7_after_the_last_error() -> None:
    """8.4, bit 7: cleared when the CPU reads LSR, if there are no subsequent errors in the FIFO."""
    bench = make(trigger=14)
    send_broken(bench, LineError.PARITY)
    send_broken(bench, LineError.FRAMING)
    seen = []
    for _ in range(2):
        seen += [bench.get(bench.registers.lsr) & Lsr.ERROR_IN_RCVR_FIFO for _ in range(2)]
        bench.read(1)
    assert seen == [Lsr.ERROR_IN_RCVR_FIFO, Lsr.ERROR_IN_RCVR_FIFO, Lsr.ERROR_IN_RCVR_FIFO, 0]


def test_errors_are_counted_by_kind() -> None:
    """Each character counts once."""
    bench = make(trigger=14)
    bench.send(b"abc", LineError.PARITY)
    bench.send(b"de", LineError.FRAMING)
    bench.send(error=LineError.BREAK)
    counters = bench.device.uart_counters
    assert (counters.parity_errors, counters.framing_errors, counters.breaks) == (3, 2, 1)


def test_reading_an_empty_receiver_repeats_the_last_character() -> None:
    """The data sheet leaves it open; the buffer holds what it held."""
    bench = make()
    bench.send(b"ab")
    assert bench.read(4) == b"abbb"
