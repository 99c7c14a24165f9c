"""NS16550a on the real serial port: in this process, and through its service."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.driving import REACHES, driving
from tests.support.line_end import LineEnd
from tests.support.uart_rig import read, until
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.driver.line_setting import LineSetting
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.uart.port import FarLines, Flow, LineError, LineFormat, PortLines
from virtmesh_common.errors import DeviceLost
from virtmesh_common.uart.spec import Ier, Msr

BURST = random.Random(16).randbytes(64 << 10)  # noqa: S311 - the same each time
OPEN = PortLines(dtr=True, rts=True, out2=True)

Port = tuple[NS16550a, UartDevice, LineEnd]
Drive = Callable[..., AbstractAsyncContextManager[Port]]


@pytest.fixture(params=REACHES)
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Drive:
    """Return what starts a driver on a port made of the given options."""

    @asynccontextmanager
    async def start(early: bytes = b"", **options: Any) -> AsyncIterator[Port]:
        device = UartDevice("serial", UartOptions(**options))
        end = LineEnd(device.line)
        end.line.send_now(early)
        async with driving(request.param, device, tmp_path) as driver:
            assert isinstance(driver, NS16550a)
            yield driver, device, end

    return start


async def test_it_opens_the_port(drive: Drive) -> None:
    """The line is set, DTR and RTS are asserted, and the self-test left no trace."""
    async with drive() as (driver, device, end):
        assert device.chip.format == LineFormat(115200, 8, "N", 2)
        assert end.port_lines == [OPEN]
        assert (driver.features, bytes(end.heard)) == (["FIFO_16"], b"")
        assert driver.facts == ("FIFOs of 16", "115200 baud 8N1")
        assert driver.modem == Msr.CTS | Msr.DSR | Msr.DCD


async def test_what_was_sent_before_the_driver_came_is_read(drive: Drive) -> None:
    """The self-test throws nothing away."""
    async with drive(early=BURST[:100]) as (driver, device, _):
        assert await read(driver, 100) == BURST[:100]
        assert device.uart_counters.overruns == 0


@pytest.mark.parametrize("size", [1, 13, 14, 15, 16, 17, 28, 200])
async def test_what_is_sent_is_read(drive: Drive, size: int) -> None:
    """Whatever the number of characters, around the trigger level and the size of the FIFO."""
    async with drive() as (driver, _, end):
        end.line.send_now(BURST[:size])

        assert await read(driver, size) == BURST[:size]
        assert driver.counters.received == size


@pytest.mark.parametrize("size", [1, 16, 17, 5000])
async def test_what_is_written_is_heard(drive: Drive, size: int) -> None:
    """In order, and all of it has left the port when `drain` returns."""
    async with drive() as (driver, _, end):
        await driver.write(BURST[:size])
        await driver.drain()

        assert end.heard == BURST[:size]
        assert (driver.counters.sent, driver.in_flight) == (size, 0)


async def test_sixteen_characters_are_one_message(drive: Drive) -> None:
    """A guard and a run of THR, in one batch."""
    async with drive() as (driver, _, end):
        before = driver.raw.messages

        await driver.raw.write_burst(BURST[:16])

        assert end.heard == BURST[:16]
        assert driver.raw.messages == before + 1


async def test_an_interrupt_with_fourteen_characters_is_one_message(drive: Drive) -> None:
    """IIR, LSR, a run of RBR, and IIR again, which says that there is no more."""
    async with drive() as (driver, _, end):
        before = driver.raw.messages

        end.line.send_now(BURST[:14])
        data = await driver.read()

        assert data == BURST[:14]
        assert driver.raw.messages == before + 1


async def test_messages_grow_with_the_traffic(drive: Drive) -> None:
    """A long burst takes few messages: more than 500 characters in each, on the average."""
    async with drive() as (driver, _, end):
        before = driver.raw.messages

        await asyncio.gather(end.line.send(BURST), read(driver, len(BURST)))

        assert len(BURST) / (driver.raw.messages - before) > 500


async def test_a_megabyte_each_way_at_once(drive: Drive) -> None:
    """What is echoed is heard, byte for byte."""
    sent = BURST * 16
    async with drive() as (driver, device, end):

        async def echo() -> None:
            count = 0
            while count < len(sent):
                data = await driver.read()
                count += len(data)
                await driver.write(data)
            await driver.drain()

        await asyncio.gather(end.line.send(sent), echo())

        assert end.heard == sent
        assert device.uart_counters.overruns == 0


async def test_a_reader_without_haste_holds_the_line_back(drive: Drive) -> None:
    """Queue full: RTS is dropped, the rest waits on the line; nothing is lost once it is read."""
    async with drive() as (driver, _, end):
        sending = asyncio.create_task(end.line.send(BURST + BURST))
        await until(lambda: driver.counters.held_back)
        assert end.port_lines[-1] == PortLines(dtr=True, rts=False, out2=True)
        assert Ier.ERBFI not in driver.raw.ier

        data = await read(driver, 2 * len(BURST))
        await sending

        assert data == BURST + BURST
        await until(lambda: end.port_lines[-1] == OPEN)
        assert Ier.ERBFI in driver.raw.ier


async def test_a_burst_is_kept_by_the_kernel_queue(drive: Drive) -> None:
    """64 KiB from a sender that does not look: nothing is lost, however late the reader."""
    async with drive() as (driver, device, end):
        await end.line.send(BURST, flow=Flow.NONE)
        await until(lambda: driver.counters.received >= len(BURST) - 16)

        assert await read(driver, len(BURST)) == BURST
        assert device.uart_counters.overruns == 0
        assert driver.raw.overruns_seen == 0


async def test_a_burst_overruns_without_the_kernel_queue(drive: Drive) -> None:
    """What is lost is what the device counts as overrun; what is read came in order."""
    async with drive() as (driver, device, end):
        driver.set_kernel_queue(on=False)
        await end.line.send(BURST, flow=Flow.NONE)
        data = bytearray()
        while len(data) + device.uart_counters.overruns < len(BURST):
            data += await driver.read()

        lost = len(BURST) - len(data)
        assert lost == device.uart_counters.overruns > 0
        assert driver.raw.overruns_seen > 0
        assert data[:16] == BURST[:16]


async def test_nothing_is_lost_without_the_kernel_queue_if_the_sender_waits(drive: Drive) -> None:
    """The FIFO is enough where the far end looks at it."""
    async with drive() as (driver, device, end):
        driver.set_kernel_queue(on=False)

        data, _ = await asyncio.gather(read(driver, 5000), end.line.send(BURST[:5000]))

        assert data == BURST[:5000]
        assert device.uart_counters.overruns == 0


async def test_the_kernel_queue_is_switched_in_the_middle(drive: Drive) -> None:
    """To and fro while a sender that waits is at work: order and number stay."""
    async with drive() as (driver, _, end):
        sending = asyncio.create_task(end.line.send(BURST[:20_000]))
        data = bytearray()
        while len(data) < 20_000:
            driver.set_kernel_queue(on=not driver.kernel_queue)
            data += await read(driver, 500)

        await sending
        assert data == BURST[:20_000]


@pytest.mark.parametrize("error", [LineError.PARITY, LineError.FRAMING])
async def test_characters_with_errors_are_counted_and_read(drive: Drive, error: LineError) -> None:
    """Each at its place among the good ones."""
    async with drive() as (driver, _, end):
        for good, bad in ((b"abc", b"X"), (BURST[:20], b"YZ")):
            end.line.send_now(good)
            end.line.send_now(bad, error=error)
        end.line.send_now(b"end")

        assert await read(driver, 29) == b"abcX" + BURST[:20] + b"YZend"
        counters = driver.counters
        counted = {
            LineError.PARITY: counters.parity_errors,
            LineError.FRAMING: counters.framing_errors,
        }
        assert counted.pop(error) == 3
        assert not any(counted.values())


async def test_breaks_are_told_and_not_read(drive: Drive) -> None:
    """A break between characters is a call, and no character."""
    async with drive() as (driver, _, end):
        breaks: list[int] = []
        driver.on_break = lambda: breaks.append(1)
        end.line.send_now(b"ab")
        end.line.send_now(b"", error=LineError.BREAK)
        end.line.send_now(b"cd")

        assert await read(driver, 4) == b"abcd"
        assert (driver.counters.breaks, breaks) == (1, [1])


@pytest.mark.parametrize("error", [LineError.PARITY, LineError.FRAMING, LineError.BREAK])
async def test_a_transmission_does_not_take_an_error_away(drive: Drive, error: LineError) -> None:
    """Reading LSR before THR clears the error bits of the character that waits to be read (8.4)."""
    async with drive() as (driver, _, end):
        raw = driver.raw
        await raw.set_interrupts(off=raw.ier)
        end.line.send_now(b"x", error=error)
        end.line.send_now(b"y")
        await raw.write_burst(b"!")
        await raw.line_status()

        received = await raw.poll(16)

        assert len(received.data) == 2
        assert [(place, flags.name) for place, flags in received.errors] == [
            (0, {"PARITY": "PE", "FRAMING": "FE", "BREAK": "BI"}[error.name])
        ]


async def test_modem_lines_are_followed(drive: Drive) -> None:
    """A change of the far end's lines interrupts, and is counted."""
    async with drive() as (driver, device, end):
        end.line.set_lines(FarLines(cts=False, dcd=False))
        await until(lambda: driver.counters.modem_changes)

        assert driver.modem == Msr.DSR
        assert not device.interrupt.status


async def test_a_break_is_sent_behind_what_was_written(drive: Drive) -> None:
    """The line is held low for a while, then let go."""
    async with drive() as (driver, device, end):
        await driver.write(BURST[:100])
        await driver.send_break(0.01)

        assert end.heard == BURST[:100]
        assert [lines.break_sent for lines in end.port_lines] == [False, True, False]
        assert device.uart_counters.breaks_sent == 1


async def test_a_line_is_set_behind_what_was_written(drive: Drive) -> None:
    """The far end hears the old format to its end, then the new one."""
    async with drive() as (driver, _, end):
        await driver.write(b"\xff" * 100)
        await driver.set_line(LineSetting(9600, 7, "E", 4))
        await driver.write(b"\xff")
        await driver.drain()

        assert end.heard == b"\xff" * 100 + b"\x7f"
        assert end.formats[-1] == LineFormat(9600, 7, "E", 4)


async def test_a_paced_transmitter_is_waited_for(drive: Drive) -> None:
    """THRE interrupts when the FIFO is empty; nothing is written to a full one."""
    async with drive(pace=True) as (driver, device, end):
        await driver.write(BURST[:200])
        await driver.drain()

        assert end.heard == BURST[:200]
        assert device.uart_counters.transmit_overruns == 0
        assert Ier.ETBEI not in driver.raw.ier


async def test_a_paced_receiver_is_emptied_in_time(drive: Drive) -> None:
    """Characters that come one by one are read in groups, the last ones after their timeout."""
    async with drive(pace=True) as (driver, device, end):
        await end.line.send(BURST[:200])

        assert await read(driver, 200) == BURST[:200]
        assert device.uart_counters.overruns == 0


async def test_messages_of_many_writers_stay_whole(drive: Drive) -> None:
    """Each message is longer than the transmit queue, and none is torn."""
    async with drive() as (driver, _, end):
        messages = [bytes((letter,)) * 100_000 for letter in b"abcd"]

        await asyncio.gather(*map(driver.write, messages))
        await driver.drain()

        assert end.heard == b"".join(messages)


async def test_a_reader_that_gives_up_takes_nothing_along(drive: Drive) -> None:
    """What arrives for it goes to the next one, with the kernel queue and without."""
    async with drive() as (driver, _, end):
        for on in (True, False):
            driver.set_kernel_queue(on=on)
            gone = asyncio.create_task(driver.read())
            await asyncio.sleep(0)
            end.line.send_now(b"hello")
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

            assert await read(driver, 5) == b"hello"


async def test_a_lost_port_fails_everyone(drive: Drive) -> None:
    """Readers get what came before, then the error, like writers and whoever drains."""
    async with drive() as (driver, _, end):
        end.line.send_now(b"last words")
        await until(lambda: driver.counters.received == 10)
        driver.bus.lost.set_result(DeviceLost("pulled out"))

        assert await driver.read() == b"last words"
        for use in (driver.read(), driver.write(b"x"), driver.drain()):
            with pytest.raises(DeviceLost, match="pulled out"):
                await use


async def test_a_lost_port_wakes_who_waits(drive: Drive) -> None:
    """Everyone who waits hears of it at once."""
    async with drive() as (driver, _, _):
        waiting = [asyncio.create_task(driver.read()) for _ in range(3)]
        await asyncio.sleep(0)
        driver.bus.lost.set_result(DeviceLost("pulled out"))

        for one in waiting:
            with pytest.raises(DeviceLost, match="pulled out"):
                await one
