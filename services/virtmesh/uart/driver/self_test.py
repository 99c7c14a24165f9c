"""The self-test of an NS16550A, in loopback, before the port is used.

It finds out whether the chip is there, whether it works, and whether it has FIFOs. Kernels do the
same, since this chip has many clones. In loopback (MCR bit 4) nothing of the test reaches the line.
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
"""Values that SCR must hold, one after the other."""
PATTERN = bytes(range(0xA0, 0xA0 + FIFO_SIZE))
"""A different character for each place of a FIFO."""
LOOKS = 64
"""Most reads of LSR to wait for the end of the transmission."""
IER_BITS = int(Ier.ERBFI | Ier.ETBEI | Ier.ELSI | Ier.EDSSI)
MODEM_BITS = int(Msr.CTS | Msr.DSR | Msr.RI | Msr.DCD)


async def probe(raw: NS16550aRaw, clock_hz: int) -> int:
    """Test a port; return the size of its FIFOs in characters: 16, or 1 if it has none.

    The port stays in loopback, at its highest baud rate, with interrupts off and FIFOs empty.
    Errors: DriverError, which says what is wrong; those of the bus.
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
    """Check that IER and SCR hold what is written. A missing port fails this, and an 8250."""
    regs = raw.registers
    for register, value in [(regs.ier, IER_BITS), (regs.ier, 0), *((regs.scr, s) for s in SCRATCH)]:
        _, read = await raw.write_registers([writing(register, value), reading(register)])
        if read & 0xFF != value:
            raise DriverError(
                f"{raw.bus.name} is no 16550: {register.name} was written {value:#04x}"
                f" and reads {read:#04x}"
            )


async def _test_modem_lines(raw: NS16550aRaw) -> None:
    """Check that outputs appear as inputs (8.8: in loopback RTS drives CTS, OUT2 drives DCD)."""
    await raw.set_modem(Mcr.RTS | Mcr.OUT2)
    status = await raw.modem_status() & MODEM_BITS
    await raw.set_modem(off=Mcr.RTS | Mcr.OUT2)
    await raw.modem_status()  # clears the deltas of this test
    if status != Msr.CTS | Msr.DCD:
        raise DriverError(
            f"{raw.bus.name} is no 16550: with RTS and OUT2 looped back MSR reads {status:#04x},"
            f" not {Msr.CTS | Msr.DCD:#04x}"
        )


async def _echo(raw: NS16550aRaw, pattern: bytes) -> bytes:
    """Send characters in loopback; return the characters that were received."""
    await raw.poll(2 * FIFO_SIZE)  # without FIFOs an older character may still be in RBR
    await raw.write_burst(pattern)
    for _ in range(LOOKS):
        if await raw.line_status() & Lsr.TEMT:
            break
        await asyncio.sleep(raw.character_s)
    return bytes((await raw.poll(2 * FIFO_SIZE)).data)
