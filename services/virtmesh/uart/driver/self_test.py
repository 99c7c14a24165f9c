"""Is there an NS16550A, and does it work? A self-test in loopback, before anyone relies on it.

As kernels have done it since there were clones of this chip; what is found decides how it is
driven. The line is cut off meanwhile (MCR bit 4), so nothing of the test is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.attach.bus import reading, writing
from virtmesh.uart.driver.line_setting import LineSetting
from virtmesh_common.errors import DriverError
from virtmesh_common.uart.spec import FIFO_SIZE, IIR_FIFO_ENABLED, Ier, Lsr, Mcr, Msr

if TYPE_CHECKING:
    from virtmesh.uart.driver.raw import NS16550aRaw

SCRATCH = (0x55, 0xAA)
"""What SCR must be able to hold, one after the other."""
PATTERN = bytes(range(0xA0, 0xA0 + FIFO_SIZE))
"""A character of its own for each place of a FIFO."""
LOOKS = 64
"""Most looks at whether the test's characters are through."""
IER_BITS = int(Ier.ERBFI | Ier.ETBEI | Ier.ELSI | Ier.EDSSI)
MODEM_BITS = int(Msr.CTS | Msr.DSR | Msr.RI | Msr.DCD)


async def probe(raw: NS16550aRaw, clock_hz: int) -> int:
    """Test a port; return how many characters its FIFOs hold: 16, or 1 when there are none.

    It is left in loopback, at its highest speed, with interrupts off and FIFOs empty.
    Errors: DriverError, saying what is not as it should be; those of the bus.
    """
    await raw.set_interrupts(off=raw.ier)
    await raw.set_modem(Mcr.LOOP, off=raw.mcr)
    await raw.set_line(LineSetting(baud=clock_hz // 16, clock_hz=clock_hz))
    await _test_holding(raw)
    await _test_modem_lines(raw)
    await raw.enable_fifos(FIFO_SIZE)
    if await raw.identify_fifos() != IIR_FIFO_ENABLED:
        await raw.enable_fifos(1)
    echoed = await _echo(raw, PATTERN[: raw.fifo_size])
    if echoed != PATTERN[: raw.fifo_size]:
        raise DriverError(
            f"{raw.bus.name} fails its loopback test: {PATTERN[: raw.fifo_size].hex()} was sent,"
            f" {echoed.hex() or 'nothing'} came back"
        )
    await raw.enable_fifos(raw.fifo_size)
    return raw.fifo_size


async def _test_holding(raw: NS16550aRaw) -> None:
    """Check that IER and SCR hold what is written: something is there, and it is no 8250."""
    regs = raw.registers
    for register, value in [(regs.ier, IER_BITS), (regs.ier, 0), *((regs.scr, s) for s in SCRATCH)]:
        _, read = await raw.write_registers([writing(register, value), reading(register)])
        if read & 0xFF != value:
            raise DriverError(
                f"{raw.bus.name} is no 16550: {register.name} was written {value:#04x}"
                f" and reads {read:#04x}"
            )


async def _test_modem_lines(raw: NS16550aRaw) -> None:
    """Check that the outputs come back as inputs (8.8: RTS as CTS, OUT2 as DCD in loopback)."""
    await raw.set_modem(Mcr.RTS | Mcr.OUT2)
    status = await raw.modem_status() & MODEM_BITS
    await raw.set_modem(off=Mcr.RTS | Mcr.OUT2)
    await raw.modem_status()  # so that no change is left to be told of
    if status != Msr.CTS | Msr.DCD:
        raise DriverError(
            f"{raw.bus.name} is no 16550: with RTS and OUT2 looped back MSR reads {status:#04x},"
            f" not {Msr.CTS | Msr.DCD:#04x}"
        )


async def _echo(raw: NS16550aRaw, pattern: bytes) -> bytes:
    """Send characters to ourselves; return what came back."""
    await raw.poll(2 * FIFO_SIZE)  # without FIFOs, a character from before may still be there
    await raw.write_burst(pattern)
    for _ in range(LOOKS):
        if await raw.line_status() & Lsr.TEMT:
            break
        await asyncio.sleep(raw.character_s)
    return bytes((await raw.poll(2 * FIFO_SIZE)).data)
