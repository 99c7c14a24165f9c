"""NS16550a on a port that is not as it should be, or does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from unittest.mock import AsyncMock, patch

import pytest

from tests.support.uart_rig import REGISTERS, Liar, started, until
from virtmesh.attach.bus import Access
from virtmesh.uart.driver import driver as uart
from virtmesh.uart.driver.driver import STORM_ROUNDS
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh_common.errors import DeviceLost, DriverError, RegisterError
from virtmesh_common.uart.spec import Ier, Iir, Lsr

TEXT = bytes(range(200))


async def turns(count: int = 20) -> None:
    """Let others run for a while."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("iir", [0x00, 0x02, 0x06, 0x0C, 0x08, 0x0E])
async def test_an_interrupt_without_end_is_bounded(
    iir: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An IIR that never says "none": others run, and the port is left alone for a while."""
    monkeypatch.setattr(uart, "STORM_PAUSE_S", 1000)
    device = Liar({})
    async with started(device) as one:
        device.lies[REGISTERS.iir.offset] = lambda _: iir
        one.bus.trace.clear()
        one.driver.handle_irq(1)
        await until(lambda: one.driver.counters.storms)
        await turns()

        looks = [access.offset for access in one.bus.trace].count(REGISTERS.iir.offset)
        assert looks == STORM_ROUNDS
        await one.driver.write(b"still here")
        await one.driver.drain()
        assert one.end.heard == b"still here"


async def test_data_without_end_is_bounded() -> None:
    """A port that always has a character fills the queue, and is masked then."""
    device = Liar({})
    async with started(device) as one:
        device.lies[REGISTERS.iir.offset] = lambda _: Iir.RECEIVED_DATA
        device.lies[REGISTERS.lsr.offset] = lambda value: value | Lsr.DR
        one.driver.handle_irq(1)
        await until(lambda: one.driver.counters.held_back)

        assert len(one.driver.read_nowait()) <= 1024
        assert Ier.ERBFI not in one.driver.raw.ier


async def test_breaks_without_end_fill_no_queue() -> None:
    """They are counted, and others run."""
    device = Liar({})
    async with started(device) as one:
        device.lies[REGISTERS.lsr.offset] = lambda value: value | Lsr.DR | Lsr.BI
        device.lies[REGISTERS.iir.offset] = lambda _: Iir.LINE_STATUS
        one.driver.handle_irq(1)
        await until(lambda: one.driver.counters.breaks >= 5000)

        assert one.driver.read_nowait() == b""


async def test_a_hanging_port_holds_nobody_else() -> None:
    """Whoever waits for it can give up; another port in the same loop works."""
    async with started() as hung, started() as well:
        hung.bus.hanging = True
        waiting = [
            asyncio.create_task(hung.driver.read()),
            asyncio.create_task(hung.driver.drain()),
        ]
        hung.end.line.send_now(b"x")
        await hung.driver.write(b"x")
        well.end.line.send_now(b"fine")

        assert await well.driver.read() == b"fine"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waiting), 0.01)
        assert hung.end.heard == b""


async def test_a_port_that_refuses_an_access_has_failed() -> None:
    """A register that is not there any more is a fault of the port: everyone hears of it."""
    async with started() as one:
        waiting = asyncio.create_task(one.driver.read())
        await turns()
        refusal = RegisterError("no such register")
        with patch.object(one.bus, "access", AsyncMock(side_effect=refusal)):
            one.driver.handle_irq(1)

            with pytest.raises(RegisterError, match="no such register"):
                await waiting
        assert one.driver.failed.done()


async def test_who_drains_a_port_that_has_failed_hears_of_it() -> None:
    """Also where the bus still answers, and says that the transmitter is not empty."""
    device = Liar({})
    async with started(device) as one:
        device.lies[REGISTERS.lsr.offset] = lambda value: value & ~Lsr.TEMT
        draining = asyncio.create_task(one.driver.drain())
        await turns()

        one.driver.fail(DriverError("it makes no sense"))

        with pytest.raises(DriverError, match="it makes no sense"):
            await draining


async def test_a_break_that_is_given_up_is_over() -> None:
    """Even if that happens before the port has answered: the line does not stay low."""
    async with started() as one:
        access = one.bus.access

        async def answer_late(batch: Sequence[Access]) -> list[int]:
            values = await access(batch)
            await turns()
            return values

        with patch.object(one.bus, "access", answer_late):
            sending = asyncio.create_task(one.driver.send_break(1000))
            await until(lambda: one.end.port_lines[-1].break_sent)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

        assert not one.end.port_lines[-1].break_sent


async def test_an_interrupt_that_is_dealt_with_costs_nothing() -> None:
    """No source is pending any more: no register is read."""
    async with started() as one:
        await turns()
        one.bus.trace.clear()

        assert one.driver.handle_irq(0)
        await turns()

        assert one.bus.trace == []


async def test_a_reader_asks_for_something() -> None:
    """No bytes are not what anybody waits for."""
    async with started() as one:
        with pytest.raises(ValueError, match="1 or more"):
            await one.driver.read(0)


async def test_a_port_in_use_is_closed_in_the_end() -> None:
    """After the close every use fails, and no task is left."""
    async with started() as one:
        await one.driver.close()

        for use in (one.driver.read(), one.driver.write(b"x"), one.driver.send_break(0)):
            with pytest.raises(DeviceLost, match="given back"):
                await use
        assert not one.driver.handle_irq(1)


async def test_the_transmitter_interrupts_only_while_it_is_waited_for() -> None:
    """ETBEI is set once for a burst that is longer than the FIFO, and cleared when all is sent."""
    async with started(UartDevice("serial", UartOptions(pace=True))) as one:
        one.bus.trace.clear()
        await one.driver.write(TEXT[:64])
        await one.driver.drain()
        await turns()

        writes = [access.value for access in one.bus.trace if access.offset == REGISTERS.ier.offset]
        listening = Ier.ERBFI | Ier.ELSI | Ier.EDSSI
        assert one.end.heard == TEXT[:64]
        assert writes == [listening | Ier.ETBEI, listening]
