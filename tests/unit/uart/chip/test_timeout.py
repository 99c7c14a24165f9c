"""The character timeout of the NS16550A (PC16550D data sheet, 8.6, 8.11, 8.12)."""

from __future__ import annotations

import pytest

from tests.support.chip_rig import TRIGGER_BITS, ChipRig
from virtmesh_common.uart.spec import Fcr, Ier, Iir, Lsr


def make(
    *, trigger: int = 1, ier: int = Ier.ERBFI, fifo: bool = True, pace: bool = False
) -> ChipRig:
    """Make a port that a driver has set up."""
    bench = ChipRig(pace=pace)
    bench.set_up(trigger=trigger, ier=ier, fifo=fifo)
    return bench


def test_a_timeout_comes_after_four_character_times() -> None:
    """8.11, timeout A: the most recent character came longer than 4 character times ago."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(1 + 3.99)
    before = bench.identify()
    bench.pass_characters(0.02)
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)
    assert bench.asserted


@pytest.mark.parametrize(
    ("lcr", "bits"), [(0x03, 10), (0x07, 11), (0x0B, 11), (0x0F, 12), (0x04, 7.5)]
)
def test_a_timeout_counts_the_bits_of_the_format(lcr: int, bits: float) -> None:
    """8.11, timeout A and B: start, data, parity and both stop bits, at the baud rate."""
    bench = ChipRig(pace=True)
    bench.set_up(trigger=14, ier=Ier.ERBFI, lcr=lcr)
    bench.send(b"a")
    bench.pass_characters(bits / 10 * 4.99)
    before = bench.identify()
    bench.pass_characters(bits / 10 * 0.02)
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


def test_the_longest_wait_is_160_ms_at_300_baud() -> None:
    """8.11, timeout A: at most 160 ms at 300 baud with a character of 12 bits."""
    bench = ChipRig(pace=True)
    bench.set_up(trigger=14, ier=Ier.ERBFI, lcr=0x0F)
    bench.set_divisor(768)
    bench.send(b"a")
    bench.clock.advance(12 / 300 + 0.159)
    before = bench.identify()
    bench.clock.advance(0.002)
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


def test_a_new_character_restarts_the_timeout() -> None:
    """8.11, timeout D: the timer is reset after a new character is received."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(1 + 2.5)
    bench.send(b"b")
    bench.pass_characters(1 + 3.9)
    before = bench.identify()
    bench.pass_characters(0.2)
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


def test_a_read_restarts_the_timeout() -> None:
    """8.11, timeout A and D: the most recent read of the FIFO was longer than 4 characters ago."""
    bench = make(trigger=14, pace=True)
    bench.send(b"ab")
    bench.pass_characters(2 + 3)
    bench.read(1)
    bench.pass_characters(3.9)
    before = bench.identify()
    bench.pass_characters(0.2)
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


def test_a_read_clears_the_timeout_and_restarts_it() -> None:
    """8.11, timeout C: cleared, and the timer reset, when the CPU reads one character."""
    bench = make(trigger=14, pace=True)
    bench.send(b"ab")
    bench.pass_characters(2 + 5)
    pending = bench.identify()
    bench.read(1)
    cleared = (bench.identify(), bench.asserted)
    bench.pass_characters(4.1)
    assert (pending, cleared) == (Iir.CHARACTER_TIMEOUT, (Iir.NONE, False))
    assert bench.identify() is Iir.CHARACTER_TIMEOUT


@pytest.mark.parametrize("register", ["lsr", "iir", "msr", "ier"])
def test_no_other_register_clears_the_timeout(register: str) -> None:
    """Table IV: a timeout is reset by reading the receiver buffer register."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(6)
    bench.get(getattr(bench.registers, register))
    assert bench.identify() is Iir.CHARACTER_TIMEOUT


@pytest.mark.parametrize("fcr", [Fcr.FIFO_ENABLE | Fcr.RCVR_FIFO_RESET, 0])
def test_clearing_the_fifo_clears_the_timeout(fcr: int) -> None:
    """8.11, timeout A: at least one character is in the FIFO."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(6)
    pending = bench.identify()
    bench.set(bench.registers.fcr, fcr)
    assert (pending, bench.identify(), bench.asserted) == (Iir.CHARACTER_TIMEOUT, Iir.NONE, False)


def test_a_new_character_does_not_clear_a_timeout_that_has_come() -> None:
    """8.11, timeout C: only a read does."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(6)
    bench.send(b"b")
    bench.pass_characters(1.5)
    assert bench.identify() is Iir.CHARACTER_TIMEOUT


def test_an_empty_fifo_does_not_time_out() -> None:
    """8.11, timeout A: at least one character is in the FIFO."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(1)
    bench.read(1)
    bench.pass_characters(100)
    assert bench.identify() is Iir.NONE


def test_there_is_no_timeout_in_character_mode() -> None:
    """8.6, bit 3: in the 16450 mode this bit is 0."""
    bench = make(fifo=False, pace=True)
    bench.send(b"a")
    bench.pass_characters(100)
    assert bench.identify() is Iir.RECEIVED_DATA


def test_in_polled_mode_nothing_is_indicated() -> None:
    """8.12: neither trigger level nor timeout is indicated; LSR tells what is in the FIFO."""
    bench = make(ier=0, trigger=1, pace=True)
    bench.get(bench.registers.lsr)
    bench.send(b"a")
    bench.pass_characters(100)
    assert (bench.identify(), bench.asserted) == (Iir.NONE, False)
    assert bench.get(bench.registers.lsr) & Lsr.DR


def test_unpaced_a_fifo_times_out_on_the_next_turn_of_the_loop() -> None:
    """Without time, nothing more on the line is as good as four character times."""
    bench = make(trigger=14)
    bench.send(b"abc")
    before = bench.identify()
    bench.clock.turn()
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


def test_unpaced_a_fifo_at_its_trigger_does_not_time_out() -> None:
    """Its data is told already."""
    bench = make(trigger=4)
    bench.send(b"abcd")
    bench.clock.turn()
    assert bench.identify() is Iir.RECEIVED_DATA


def test_unpaced_what_is_left_below_the_trigger_times_out() -> None:
    """The tail of a burst is not forgotten."""
    bench = make(trigger=4)
    bench.send(b"abcde")
    bench.read(4)
    before = bench.identify()
    bench.clock.turn()
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


@pytest.mark.parametrize("pace", [False, True])
def test_what_a_raised_trigger_leaves_below_it_times_out(pace: bool) -> None:  # noqa: FBT001
    """8.11, timeout A: whatever was told of the characters before, they are in the FIFO."""
    bench = make(trigger=4, pace=pace)
    bench.send(b"abcd")
    bench.pass_characters(4)
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | TRIGGER_BITS[14])
    before = bench.identify()
    bench.pass_characters(4)
    bench.clock.turn()
    assert (before, bench.identify()) == (Iir.NONE, Iir.CHARACTER_TIMEOUT)


def test_writing_fcr_does_not_restart_the_timeout() -> None:
    """8.11, timeout D: a new character or a read does."""
    bench = make(trigger=14, pace=True)
    bench.send(b"a")
    bench.pass_characters(1 + 3.9)
    bench.set(bench.registers.fcr, Fcr.FIFO_ENABLE | TRIGGER_BITS[8])
    bench.pass_characters(0.2)
    assert bench.identify() is Iir.CHARACTER_TIMEOUT


def test_a_line_that_stood_still_times_out_once_it_goes_on() -> None:
    """8.11, timeout B: without a baud rate there are no character times; with one there are."""
    bench = make(trigger=14, pace=True)
    bench.send(b"ab")
    bench.pass_characters(2)
    bench.set_divisor(0)
    bench.read(1)
    bench.clock.advance(1000)
    stood = bench.identify()
    bench.set_divisor(24)
    bench.pass_characters(3.99)
    before = bench.identify()
    bench.pass_characters(0.02)
    assert (stood, before, bench.identify()) == (Iir.NONE, Iir.NONE, Iir.CHARACTER_TIMEOUT)
