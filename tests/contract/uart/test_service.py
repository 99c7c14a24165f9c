"""UartService of a device service: what terminals see of a driver, and a driver of terminals."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from tests.support import line_client
from tests.support.driving import StreamBus
from tests.support.uart_clients import Client
from virtmesh.attach.bus import Access, reading, writing
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.server import Handover
from virtmesh.machine import DoorbellKind
from virtmesh.uart.driver.raw import NS16550aRaw
from virtmesh.uart.kind import KIND
from virtmesh.uart.line.scrollback import HEADROOM_BYTES
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.uart.port import LINE_LIMIT
from virtmesh_common.api.memory.v1.handover_pb2 import HandoverRequest
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import MemoryRefused, ShuttingDown, WatcherTooSlow, from_rpc_error
from virtmesh_common.uart.errors import LineFull
from virtmesh_common.uart.spec import FIFO_SIZE, Ier, Lcr, Lsr, Mcr, Msr, Registers

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.contract.conftest import Served

    Serve = Callable[..., AbstractAsyncContextManager[Served]]

REGISTERS = Registers()
BITS_8 = int(Lcr.WLS0 | Lcr.WLS1)
KEPT = 64 << 10
"""Size of the scrollback, in bytes."""


@dataclass
class Driver:
    """A driver that does what the test says, one batch at a time."""

    bus: GrpcBus

    def __post_init__(self) -> None:
        self.raw = NS16550aRaw(self.bus)

    async def write(self, *accesses: Access) -> None:
        """Write registers."""
        await self.bus.access(accesses)

    async def start(self) -> None:
        """Set the line to eight bits; enable FIFOs and the interrupt of received data."""
        await self.write(writing(REGISTERS.lcr, BITS_8))
        await self.raw.enable_fifos(FIFO_SIZE)
        await self.raw.set_interrupts(on=Ier.ERBFI)

    async def send(self, data: bytes) -> None:
        """Send characters: the line is not paced, so that there is always room."""
        while data:
            data = data[await self.raw.write_burst(data) :]

    async def read(self, count: int) -> bytes:
        """Read so many characters, as they come."""
        got = bytearray()
        while len(got) < count:
            got += (await self.raw.take(count - len(got))).data
            got += (await self.raw.poll(min(16, count - len(got)))).data
        return bytes(got)


@dataclass
class Port(Client):
    """A client of a serial device service in this process."""

    served: Served

    @asynccontextmanager
    async def driven(self) -> AsyncIterator[Driver]:
        """Attach a driver for a while, and start it."""
        with Ram(1 << 20) as ram:
            bus = await GrpcBus.connect(
                self.served.address, ram=ram, driver_name="test", doorbell=DoorbellKind.EVENTFD
            )
            try:
                driver = Driver(bus)
                await driver.start()
                yield driver
            finally:
                await bus.close()


@asynccontextmanager
async def opened(serve: Serve, **options: Any) -> AsyncIterator[Port]:
    """Serve a serial device for a while."""
    made_of = UartOptions(scrollback=KEPT, **options)
    async with serve(UartDevice("serial", made_of), KIND) as served:
        yield Port(UartServiceStub(served.channel), served.address, served)


@pytest.fixture
async def port(serve: Serve) -> AsyncIterator[Port]:
    """Serve a serial device."""
    async with opened(serve) as port:
        yield port


async def test_the_port_is_as_its_driver_has_set_it(port: Port) -> None:
    """Format and lines; a watcher is told of each change."""
    terminal = await port.open(watch=True)
    async with port.driven() as driver:
        eight_bits = await terminal.next("format")
        await driver.write(
            writing(REGISTERS.lcr, int(Lcr.DLAB)),
            writing(REGISTERS.dll, 24),
            writing(REGISTERS.dlm, 0),
            writing(REGISTERS.lcr, int(Lcr.WLS1 | Lcr.PEN)),
            writing(REGISTERS.mcr, int(Mcr.DTR | Mcr.OUT2)),
        )
        info = await port.info()
        told = [await terminal.next("port_lines"), await terminal.next("format")]
    assert (eight_bits.data_bits, eight_bits.parity) == (8, "N")
    assert (info.name, info.attached, info.paced) == ("serial", True, False)
    assert info.format == pb.LineFormat(baud=9600, data_bits=7, parity="O", stop_half_bits=2)
    assert info.port_lines == pb.PortLines(dtr=True, out2=True)
    assert told == [info.port_lines, info.format]
    assert not (await port.info()).attached


async def test_output_reaches_watchers_and_the_log_file(serve: Serve, tmp_path: Path) -> None:
    """Every byte, those who come late included; the file is complete when the service has ended."""
    path = tmp_path / "serial.log"
    words = bytes(i % 251 for i in range(20_000))
    async with opened(serve, log_file=path) as port:
        first = await port.open(watch=True)
        async with port.driven() as driver:
            await driver.send(words)
        late = await port.open(watch=True, tail_bytes=100)
        assert await first.output(len(words)) == words
        assert await late.output(100) == words[-100:]
    assert path.read_bytes() == words


async def test_what_was_sent_before_a_driver_came(port: Port) -> None:
    """It waits on the line, is counted, and is the first thing that the driver gets."""
    terminal = await port.open()
    await terminal.send(b"early")
    while (await port.info()).waiting_bytes < 5:
        pass
    await port.stub.Write(pb.WriteRequest(input=pb.Input(data=b" bird")))
    info, stats = await port.info(), await port.stats()
    assert (info.waiting_bytes, stats.waiting_bytes, stats.unattended_bytes) == (10, 10, 10)
    async with port.driven() as driver:
        assert await driver.read(10) == b"early bird"
    assert (await terminal.taken(5)).overrun == 0


async def test_a_line_that_is_full(port: Port) -> None:
    """A call is refused, and takes nothing; a stream waits, and all of its input arrives."""
    terminal = await port.open()
    words = bytes(i % 251 for i in range(LINE_LIMIT))
    await terminal.send(words)
    while (await port.info()).waiting_bytes < LINE_LIMIT:
        pass
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await port.stub.Write(pb.WriteRequest(input=pb.Input(data=b"no room")))
    await terminal.send(words)
    await terminal.call.done_writing()
    async with port.driven() as driver:
        got = await driver.read(2 * LINE_LIMIT)
    error = from_rpc_error(refused.value)
    assert isinstance(error, LineFull)
    assert error.metadata == {"room_bytes": "0"}
    assert got == words + words
    assert await terminal.taken(2 * LINE_LIMIT) == pb.Taken(characters=2 * LINE_LIMIT)
    assert await terminal.call.read() is grpc.aio.EOF
    assert (await port.stats()).refused_bytes == 7


async def test_modem_lines_reach_the_driver(port: Port) -> None:
    """In MSR, with what has changed."""
    async with port.driven() as driver:
        await driver.bus.access([reading(REGISTERS.msr)])
        await port.stub.SetLines(pb.SetLinesRequest(lines=pb.Lines(cts=False, ri=True)))
        (msr,) = await driver.bus.access([reading(REGISTERS.msr)])
    assert msr == Msr.DSR | Msr.RI | Msr.DCD | Msr.DCTS


async def test_errors_reach_the_driver_with_their_characters(port: Port) -> None:
    """In LSR, when the character is the next to be read."""
    terminal = await port.open()
    await terminal.send(b"a")
    await terminal.send(b"b", error=pb.LINE_ERROR_PARITY)
    await terminal.send(error=pb.LINE_ERROR_BREAK)
    look = [reading(REGISTERS.lsr), reading(REGISTERS.rbr)]
    async with port.driven() as driver:
        await terminal.taken(3)
        found = await driver.bus.access(look * 3)
    marks = int(Lsr.PE | Lsr.FE | Lsr.BI)
    assert [status & marks for status in found[::2]] == [0, Lsr.PE, Lsr.BI]
    assert found[1::2] == [ord("a"), ord("b"), 0]
    stats = await port.stats()
    assert (stats.received, stats.parity_errors, stats.breaks) == (3, 1, 1)


ECHO_BYTES = 256 << 10


async def test_both_ways_at_once(port: Port) -> None:
    """What a driver echoes is what was sent, to each watcher; the scrollback is smaller than it."""
    words = bytes(i % 251 for i in range(ECHO_BYTES))
    terminal, other = await port.open(watch=True), await port.open(watch=True)

    async def send() -> None:
        for start in range(0, len(words), 10_000):
            await terminal.send(words[start : start + 10_000])

    async def echo(driver: Driver) -> None:
        for _ in range(0, ECHO_BYTES, 4096):
            await driver.send(await driver.read(4096))

    async with port.driven() as driver:
        sending, echoing = asyncio.create_task(send()), asyncio.create_task(echo(driver))
        found = await asyncio.gather(terminal.output(len(words)), other.output(len(words)))
        await asyncio.gather(sending, echoing)
    assert list(found) == [words, words]
    stats = await port.stats()
    assert (stats.received, stats.transmitted, stats.overruns) == (ECHO_BYTES, ECHO_BYTES, 0)


async def test_a_watcher_that_stops_reading(port: Port) -> None:
    """It is cut off with its offset; neither the driver nor another watcher notices."""
    quick = await port.open(watch=True)
    piece = bytes(i % 251 for i in range(4096))
    async with port.lazy() as slow:
        async with port.driven() as driver:
            while not (await port.stats()).watchers_cut:
                await driver.send(piece)
                assert await quick.output(len(piece)) == piece
        error, rest = await slow.error_and_rest()
    assert isinstance(error, WatcherTooSlow)
    assert error.metadata == {"offset": str(len(rest)), "epoch": slow.snapshot.epoch}
    assert quick.offset - len(rest) > KEPT + HEADROOM_BYTES
    assert (await port.info()).watchers == 1


async def test_a_driver_that_goes(port: Port) -> None:
    """Terminals stay: they see its lines drop, and what the next driver sends."""
    terminal = await port.open(watch=True)
    async with port.driven() as driver:
        await driver.write(writing(REGISTERS.mcr, int(Mcr.DTR)))
        up = await terminal.next("port_lines")
    down = await terminal.next("port_lines")
    async with port.driven() as driver:
        await driver.send(b"again")
        assert await terminal.output(5) == b"again"
    assert (up, down) == (pb.PortLines(dtr=True), pb.PortLines())


@pytest.mark.processes
async def test_a_client_that_is_killed(port: Port) -> None:
    """Its stream ends; what it had put on the line stays there, and the driver gets it."""
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", line_client.__name__, port.served.address, "1000"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None
    async with port.driven() as driver:
        assert (await client.stdout.readline()).startswith(b"taken ")
        await port.until_watched_by(1)
        client.kill()
        await client.wait()
        await port.until_watched_by(0)
        assert await driver.read(1000) == line_client.pattern(1000)


async def test_a_service_that_stops(port: Port) -> None:
    """Watchers get what the machine sent last, and learn why there is no more."""
    terminal = await port.open(watch=True)
    async with port.driven() as driver:
        await driver.send(b"goodbye")
    async with asyncio.timeout(4):
        await port.served.host.stop()
    error, rest = await terminal.error_and_rest()
    assert isinstance(error, ShuttingDown)
    assert rest == b"goodbye"


@pytest.mark.parametrize("kind", [GrpcBus, StreamBus])
async def test_a_bus_hears_what_arrives(port: Port, kind: type[GrpcBus]) -> None:
    """Every time, by the line's eventfd or by the stream of interrupts."""
    terminal = await port.open()
    with Ram(1 << 20) as ram:
        bus = await kind.connect(
            port.address, ram=ram, driver_name="test", doorbell=DoorbellKind.EVENTFD
        )
        driver, interrupted = Driver(bus), asyncio.Event()
        bus.on_interrupt(lambda _: interrupted.set())
        await driver.start()
        for number in range(20):
            await terminal.send(bytes([number]))
            await interrupted.wait()
            interrupted.clear()
            assert await driver.read(1) == bytes([number])
        await bus.close()


async def test_a_service_that_knows_no_line_is_driven(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handover is made again without it, and interrupts come by the stream."""
    take = Handover.take

    def refuse_line(self: Handover, request: HandoverRequest, *limits: Any) -> None:
        if request.HasField("line_index"):
            raise MemoryRefused("2 descriptors came, and the request uses the indexes 0")
        take(self, request, *limits)

    monkeypatch.setattr(Handover, "take", refuse_line)
    terminal = await port.open()
    async with port.driven() as driver:
        interrupted = asyncio.Event()
        driver.bus.on_interrupt(lambda _: interrupted.set())
        await terminal.send(b"x")
        await interrupted.wait()
        assert await driver.read(1) == b"x"
