"""Drivers of other systems meet the chip: their accesses in their order, and what they look for.

Linux: drivers/tty/serial/8250/8250_port.c. xv6: kernel/uart.c. rCore: drivers/chardev/ns16550a.rs.
FreeBSD: sys/dev/uart/uart_dev_ns8250.c.
"""

from __future__ import annotations

import pytest

from tests.support.chip_rig import ChipRig
from virtmesh_common.uart.spec import FIFO_SIZE, Fcr, Ier, Iir, Lcr, Lsr, Mcr, Msr

DATA, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 1, 2, 2, 3, 4, 5, 6, 7
"""Offsets, as those drivers have them: no table says which register is meant."""
DLAB = int(Lcr.DLAB)
EIGHT_BITS = 0x03
EFR_BANK = 0xBF
"""LCR at which later chips show an enhanced feature register in the place of IIR and FCR."""
NATIONAL_BANK = 0xE0
"""LCR at which National's super I/O chips show another bank."""
BIG_FIFO = 0x20
"""Bit of FCR, and of IIR, at chips with a FIFO of 64 characters."""
NO_INTERRUPT = int(Iir.NONE)


class Guest:
    """Accesses by offset."""

    def __init__(self, *, pace: bool = False) -> None:
        self.bench = ChipRig(pace=pace)

    def read(self, offset: int) -> int:
        """Read a byte."""
        return self.bench.device.read(offset, 1)

    def write(self, offset: int, *values: int) -> None:
        """Write bytes."""
        for value in values:
            self.bench.device.write(offset, 1, value)

    def set_divisor(self, lcr: int, divisor: int) -> None:
        """Load the divisor latch; leave DLAB set."""
        self.write(LCR, lcr)
        self.write(0, divisor & 0xFF)
        self.write(1, divisor >> 8)

    def clear_fifos(self) -> None:
        """Enable the FIFOs, clear them, disable them."""
        self.write(FCR, 0x01, 0x07, 0x00)

    def clear_interrupts(self) -> None:
        """Read what clears each interrupt."""
        for offset in (LSR, DATA, IIR, MSR):
            self.read(offset)

    def wait(self, seconds: float) -> None:
        """Wait, as a driver that delays."""
        self.bench.clock.advance(seconds)

    def take_interrupt(self) -> bytes:
        """Do what Linux' interrupt handler does; return what it has received."""
        received = bytearray()
        while not self.read(IIR) & NO_INTERRUPT:
            status = self.read(LSR)
            while status & (Lsr.DR | Lsr.BI):
                received.append(self.read(DATA))
                status = self.read(LSR)
            self.read(MSR)
        return bytes(received)


@pytest.fixture(params=[False, True], ids=["unpaced", "paced"])
def guest(request: pytest.FixtureRequest) -> Guest:
    """Make a port without pace, and one with."""
    return Guest(pace=request.param)


def start_linux(guest: Guest) -> None:
    """Do what Linux does when the port is opened: startup, then set_termios of 115200 8N1."""
    guest.clear_fifos()
    guest.clear_interrupts()
    guest.write(LCR, EIGHT_BITS)
    guest.write(MCR, Mcr.DTR | Mcr.RTS | Mcr.OUT2)
    guest.clear_interrupts()
    guest.write(IER, Ier.ERBFI | Ier.ELSI)
    guest.set_divisor(EIGHT_BITS | DLAB, 2)
    guest.write(LCR, EIGHT_BITS)
    guest.write(FCR, 0x01, 0x81)


# -- Linux ---


def test_linux_finds_the_interrupt_enable_register(guest: Guest) -> None:
    """autoconfig, existence: IER's lower four bits, and no more, hold what is written."""
    saved = guest.read(IER)
    guest.write(IER, 0)
    cleared = guest.read(IER)
    guest.write(IER, 0x0F)
    enabled = guest.read(IER)
    guest.write(IER, saved)
    assert (cleared, enabled, guest.read(IER)) == (0, 0x0F, saved)


def test_linux_finds_the_loopback(guest: Guest) -> None:
    """autoconfig, LOOP test: OUT2 and RTS appear as DCD and CTS, and nothing else does."""
    saved = guest.read(MCR)
    guest.write(MCR, Mcr.LOOP | Mcr.OUT2 | Mcr.RTS)
    looped = guest.read(MSR) & 0xF0
    guest.write(MCR, saved)
    assert looped == Msr.DCD | Msr.CTS


def test_linux_finds_a_16550a(guest: Guest) -> None:
    """autoconfig: both upper bits of IIR, once the FIFOs are enabled."""
    guest.write(LCR, EFR_BANK)
    guest.write(FCR, 0)
    guest.write(LCR, 0)
    guest.write(FCR, Fcr.FIFO_ENABLE)
    assert guest.read(IIR) >> 6 == 3


@pytest.mark.parametrize("lcr", [DLAB, EFR_BANK])
def test_linux_finds_no_enhanced_feature_register(guest: Guest, lcr: int) -> None:
    """autoconfig_16550a: a chip that has one (16650 and later) would show 0."""
    guest.write(FCR, Fcr.FIFO_ENABLE)
    guest.write(LCR, lcr)
    assert guest.read(IIR) == 0xC1


def test_linux_finds_no_second_bank(guest: Guest) -> None:
    """autoconfig_16550a, National super I/O: LOOP of MCR would show in the other bank."""
    shown = []
    for mcr in (0, Mcr.LOOP):
        guest.write(LCR, 0)
        guest.write(MCR, mcr)
        guest.write(LCR, NATIONAL_BANK)
        shown.append(guest.read(2) & Mcr.LOOP)
    assert shown == [0, 0]


@pytest.mark.parametrize("lcr", [0, DLAB])
def test_linux_finds_no_fifo_of_64(guest: Guest, lcr: int) -> None:
    """autoconfig_16550a, TI16750: bit 5 of IIR would follow that of FCR."""
    guest.write(LCR, lcr)
    guest.write(FCR, Fcr.FIFO_ENABLE | BIG_FIFO)
    assert guest.read(IIR) >> 5 == 6


def test_linux_counts_sixteen_characters_in_the_fifo(guest: Guest) -> None:
    """size_fifo: 256 characters into the loop, 20 ms, and what is there is counted."""
    guest.write(LCR, 0)
    guest.write(FCR, 0x07)
    guest.write(MCR, Mcr.LOOP)
    guest.set_divisor(DLAB, 1)
    guest.write(LCR, EIGHT_BITS)
    guest.write(DATA, *range(256))
    guest.wait(0.020)
    received = []
    while guest.read(LSR) & Lsr.DR:
        received.append(guest.read(DATA))
    assert received == list(range(FIFO_SIZE))


def test_linux_finds_no_thre_bug(guest: Guest) -> None:
    """startup: THRE interrupts each time that it is enabled, though IIR was read in between."""
    guest.clear_fifos()
    guest.clear_interrupts()
    seen = []
    for _ in range(2):
        guest.write(IER, Ier.ETBEI)
        guest.read(LCR)
        seen.append(guest.read(IIR))
        guest.write(IER, 0)
    assert seen == [Iir.THR_EMPTY, Iir.THR_EMPTY]


def test_linux_finds_no_transmit_bug(guest: Guest) -> None:
    """startup: with TEMT set, enabling the THRE interrupt shows it."""
    guest.write(IER, Ier.ETBEI)
    status = guest.read(LSR)
    assert status & Lsr.TEMT
    assert not guest.read(IIR) & NO_INTERRUPT


def test_linux_receives_by_interrupt(guest: Guest) -> None:
    """More than a FIFO: each interrupt is served until IIR shows none, and nothing is lost."""
    start_linux(guest)
    data = bytes(range(100))
    guest.bench.send(data)
    guest.bench.pass_characters(8)
    told = guest.bench.asserted
    received = bytearray()
    for _ in range(-(-len(data) // FIFO_SIZE)):
        guest.bench.pass_characters(FIFO_SIZE + 5)
        guest.bench.clock.turn()
        received += guest.take_interrupt()
    assert (told, bytes(received), guest.bench.asserted) == (True, data, False)


def test_linux_transmits_by_interrupt(guest: Guest) -> None:
    """start_tx enables THRE; each interrupt fills the FIFO; the last one disables it."""
    start_linux(guest)
    data = bytes(range(100))
    left = bytearray(data)
    guest.write(IER, Ier.ERBFI | Ier.ELSI | Ier.ETBEI)
    interrupts = 0
    while left:
        assert guest.bench.asserted
        assert guest.read(IIR) & 0x0F == Iir.THR_EMPTY
        assert guest.read(LSR) & Lsr.THRE
        guest.write(DATA, *left[:FIFO_SIZE])
        del left[:FIFO_SIZE]
        guest.bench.pass_characters(FIFO_SIZE)
        interrupts += 1
    guest.write(IER, Ier.ERBFI | Ier.ELSI)
    guest.bench.pass_characters(FIFO_SIZE)
    assert (guest.bench.take_sent(), interrupts, guest.bench.asserted) == (data, 7, False)


# -- FreeBSD ---


def test_freebsd_counts_the_fifo_by_its_overrun(guest: Guest) -> None:
    """ns8250_bus_probe: characters into the loop, one by one; the one that overruns is too many."""
    assert not guest.read(MCR) & 0xE0
    guest.set_divisor(EIGHT_BITS | DLAB, 2)
    guest.write(LCR, EIGHT_BITS)
    guest.write(MCR, Mcr.LOOP | Mcr.OUT2 | Mcr.DTR | Mcr.RTS)
    guest.write(FCR, 0x01, 0x07)
    assert not guest.read(IIR) & 0x30
    count = 0
    while not guest.read(LSR) & Lsr.OE and count < 260:
        guest.write(DATA, count & 0xFF)
        guest.bench.pass_characters(1)
        count += 1
    assert count - 1 == FIFO_SIZE


# -- xv6 and rCore ---


def start_xv6(guest: Guest) -> None:
    """Do what uartinit does."""
    guest.write(IER, 0)
    guest.set_divisor(DLAB, 3)
    guest.write(LCR, EIGHT_BITS)
    guest.write(FCR, 0x07)
    guest.write(IER, Ier.ETBEI | Ier.ERBFI)


def take_xv6_interrupt(guest: Guest) -> tuple[bool, bytes]:
    """Do what uartintr does; return whether the writer may go on, and what was received."""
    guest.read(IIR)
    idle = bool(guest.read(LSR) & Lsr.THRE)
    received = bytearray()
    while guest.read(LSR) & Lsr.DR:
        received.append(guest.read(DATA))
    return idle, bytes(received)


def test_xv6_writes_a_character_per_interrupt(guest: Guest) -> None:
    """uartwrite: it sleeps after each character until uartintr finds THRE."""
    start_xv6(guest)
    for character in b"xv6 kernel is booting":
        assert guest.bench.asserted
        assert take_xv6_interrupt(guest)[0]
        assert not guest.bench.asserted
        guest.write(DATA, character)
        guest.bench.pass_characters(1)
    assert guest.bench.take_sent() == b"xv6 kernel is booting"


def test_xv6_keeps_its_writer_going_while_it_receives(guest: Guest) -> None:
    """IIR is read once: where it shows received data, THRE stays and interrupts again."""
    start_xv6(guest)
    guest.bench.send(b"ls\n")
    guest.bench.pass_characters(3)
    first = take_xv6_interrupt(guest)
    again = guest.bench.asserted
    second = take_xv6_interrupt(guest)
    assert (first, again, second) == ((True, b"ls\n"), True, (True, b""))
    assert not guest.bench.asserted


def test_rcore_receives_a_character_per_interrupt(guest: Guest) -> None:
    """It writes MCR and IER only, enables no FIFOs, and leaves LCR as the firmware has set it."""
    guest.write(LCR, EIGHT_BITS)
    guest.write(MCR, Mcr.DTR | Mcr.RTS | Mcr.OUT2)
    guest.write(IER, Ier.ERBFI)
    guest.bench.send(b"hello world\r")
    guest.bench.pass_characters(1)
    told = guest.bench.asserted
    received = bytearray()
    for _ in range(12):
        while guest.read(LSR) & Lsr.DR:
            received.append(guest.read(DATA))
        guest.bench.pass_characters(1)
    assert (told, bytes(received), guest.bench.asserted) == (True, b"hello world\r", False)


def test_rcore_transmits_when_thre_says_so(guest: Guest) -> None:
    """write: it polls LSR."""
    guest.write(LCR, EIGHT_BITS)
    for character in b"[rustsbi]":
        while not guest.read(LSR) & Lsr.THRE:
            guest.bench.pass_characters(0.1)
        guest.write(DATA, character)
    guest.bench.pass_characters(2)
    assert guest.bench.take_sent() == b"[rustsbi]"
