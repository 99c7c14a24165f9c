"""The driver of the NS16550A serial port (PC16550D data sheet).

The receive FIFO holds 16 characters, and whoever reads the port may be late. So the interrupt
handler empties the FIFO into a larger queue of the kernel, and readers read that.
`set_kernel_queue(on=False)` turns this off, to show what it is for: the handler then only wakes the
reader, who has the FIFO read when it is scheduled; what has overrun the FIFO by then is lost.

When the queue is three quarters full, RTS is dropped, which asks the far end to pause; at a quarter
it is asserted again. If more comes all the same, and fills the queue, the rest stays in the FIFO,
and the receiver does not interrupt (ERBFI is masked) until half of the queue is free: the port may
overrun meanwhile, and counts that.

Invariant: the receiver is masked while a reader's move is awaited, and only then: for room in the
queue, or, without the queue, for a read. One task reads the port; that of sender.py writes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import structlog

from virtmesh.drivers.base import Driver
from virtmesh.uart.driver.counters import SerialDriverCounters
from virtmesh.uart.driver.line_setting import CLOCK_HZ, LineSetting
from virtmesh.uart.driver.lives import SerialLives
from virtmesh.uart.driver.raw import NS16550aRaw
from virtmesh.uart.driver.self_test import probe
from virtmesh.uart.driver.sender import Sender
from virtmesh_common.uart.spec import FIFO_SIZE, Ier, Iir, Layout, Lsr, Mcr, Msr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.settings import Settings
    from virtmesh.uart.driver.byte_queue import ByteQueue
    from virtmesh.uart.driver.raw import Received
    from virtmesh_common.errors import VirtmeshError

log = structlog.get_logger(__name__)

QUEUE_BYTES = 64 << 10
"""Size of the receive and of the transmit queue, unless told otherwise."""
RECEIVER = Ier.ERBFI | Ier.ELSI
"""Interrupts of the receiver: data, and line status (an overrun would interrupt for ever)."""
STORM_ROUNDS = 256
"""Looks at IIR in a row that bring nothing, after which the port is left alone for a while."""
STORM_PAUSE_S = 0.1
"""How long the port is left alone then, in seconds."""
MODEM_LINES = Msr.CTS | Msr.DSR | Msr.RI | Msr.DCD
"""Bits of MSR that show a line, not a change."""


class NS16550a(Driver):
    """A serial port with queues. `start` leaves it open: at its speed, RTS and DTR asserted.

    `on_break` is called for each break that comes; its zero character is not read by anyone.
    Characters with a parity or framing error are counted, and read as they came.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        layout: Layout | None = None,
        setting: LineSetting | None = None,
        queue_bytes: int = QUEUE_BYTES,
        kernel_queue: bool = True,
    ) -> None:
        super().__init__(bus)  # `requests` counts runs of characters, received and sent
        self.raw = NS16550aRaw(bus, layout)
        self.setting = setting or LineSetting()
        self.lives = SerialLives(queue_bytes, max(queue_bytes, FIFO_SIZE))
        self.lives.kernel_queue = kernel_queue
        self.gone = False
        """True once the port's process has gone by itself; another one may come."""
        self.counters = SerialDriverCounters()
        self.modem = Msr(0)
        """The modem lines that the far end drives (CTS, DSR, RI, DCD), as last told."""
        self.on_break: Callable[[], object] = lambda: None
        self._sender = Sender(self.raw, self.lives, check=self._check, on_sent=self._count_sent)
        self._news = asyncio.Event()
        self._masked = False
        self._wanted = 0
        """Characters that a reader is to have from the FIFO itself."""

    @classmethod
    def from_node(
        cls,
        bus: Bus,
        properties: Mapping[str, int],
        settings: Settings,  # noqa: ARG003 - the base's signature
    ) -> Self:
        """Make the driver of a node: clock-frequency, current-speed, reg-shift, reg-io-width.

        It never polls, whatever the settings: a port without traffic would be asked for ever.
        """
        layout = Layout(properties.get("reg-shift", 0), properties.get("reg-io-width", 1))
        clock_hz = properties.get("clock-frequency", CLOCK_HZ)
        setting = LineSetting.of_port(clock_hz, properties.get("current-speed"))
        return cls(bus, layout=layout, setting=setting)

    @property
    def kernel_queue(self) -> bool:
        """True while it keeps a receive queue of its own behind the port's FIFO."""
        return self.lives.kernel_queue

    @property
    def _received(self) -> ByteQueue:
        return self.lives.received

    def keep(self) -> SerialLives:
        """Leave what was not read, and not sent, to the next process of the port."""
        if not self.gone:  # Somebody has had it reset: what it had is to end.
            self.lives.received.get(self.lives.received.limit)
            self.lives.to_send.drop(len(self.lives.to_send))
            self.lives.now.in_doubt = 0
        return self.lives

    def take_over(self, kept: object) -> None:
        """Go on where the process before ended."""
        if isinstance(kept, SerialLives):
            self.lives = kept
            self._sender.take_over(kept)

    @property
    def features(self) -> list[str]:
        """What the port has."""
        return [f"FIFO_{self.raw.fifo_size}"] if self.raw.fifo_size > 1 else []

    @property
    def in_flight(self) -> int:
        """Characters that wait to be sent."""
        return len(self._sender)

    @property
    def overruns_seen(self) -> int:
        """Times that LSR showed an overrun; each stands for one lost character or more."""
        return self.raw.overruns_seen

    @property
    def facts(self) -> Sequence[str]:
        """What the boot log says."""
        setting = self.setting
        stop = f"{setting.stop_half_bits / 2:g}"
        return (
            f"FIFOs of {self.raw.fifo_size}",
            f"{setting.actual_baud:.0f} baud {setting.data_bits}{setting.parity}{stop}",
        )

    async def start(self) -> None:
        """Test the port, set it up, and open it. Errors: DriverError; DeviceLost."""
        try:
            await probe(self.raw, self.setting.clock_hz)
            await self.raw.set_line(self.setting)
            self._spawn(self._serve, "interrupt work")
            self._spawn(self._sender.run, "transmitter")
            # Ends the loopback: from here on characters may arrive.
            await self.raw.set_modem(Mcr.DTR | Mcr.RTS | Mcr.OUT2, off=Mcr.LOOP)
            self.modem = Msr(await self.raw.modem_status()) & MODEM_LINES
            await self.raw.set_interrupts(RECEIVER | Ier.EDSSI)
        except BaseException:
            await self.close()
            raise

    def handle_irq(self, status: int) -> bool:
        """Have the port looked at. `status` has the pending sources; 0 if it was dealt with."""
        if self.failed.done():
            return False
        if status:
            self.counters.interrupts += 1
            self._news.set()
        return True

    def abandon(self, error: VirtmeshError) -> None:
        """Wake everyone: readers get what is left, and then the error."""
        self._received.wake()
        self._sender.wake()

    def orphan(self, error: VirtmeshError) -> None:
        """Do as `abandon`: what is left is for the next process."""
        self.gone = True
        self.lives.orphan()
        self.abandon(error)

    def read_nowait(self, limit: int = QUEUE_BYTES) -> bytes:
        """Return what is in the receive queue, at most `limit` bytes, perhaps none."""
        queue = self._received
        data = queue.get(limit)
        masked, paused = self._masked and self.kernel_queue, not self.raw.mcr & Mcr.RTS
        if (masked and queue.room >= queue.limit // 2) or (paused and self._may_go_on()):
            self._news.set()
        return data

    async def read(self, limit: int = QUEUE_BYTES) -> bytes:
        """Return what has arrived, at most `limit` bytes; wait for the first of them.

        Errors: ValueError for a limit below 1; DeviceLost or DriverError once the port has failed,
        when all that came before that is read.
        """
        if limit < 1:
            raise ValueError(f"{limit} bytes can't be read: ask for 1 or more")
        while not self._received:
            self._check()
            if self._masked and not self.kernel_queue:
                self._wanted = min(limit, self._received.limit)
                self._news.set()
            await self._received.changed()
        return self.read_nowait(limit)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Put data into the transmit queue, in one piece; wait for room. See `drain`.

        When it is cancelled, the part that is in the queue is sent.
        Errors: DeviceLost, DriverError.
        """
        await self._sender.write(data)

    async def put(self, data: memoryview) -> int:
        """Put as much of data into the queue as there is room for; wait for some room.

        Errors: DeviceLost, DriverError: none of it is in the queue.
        """
        return await self._sender.put(data)

    async def drain(self) -> None:
        """Wait until all that was written has left the port. Errors: DeviceLost, DriverError."""
        await self._sender.drain()

    async def send_break(self, seconds: float = 0.25) -> None:
        """Send a break, behind what was written. Errors: DeviceLost, DriverError."""
        await self._sender.send_break(seconds)

    async def set_line(self, setting: LineSetting) -> None:
        """Set speed and format, behind what was written. Errors: DeviceLost, DriverError."""
        await self._sender.set_line(setting)
        self.setting = setting

    def set_kernel_queue(self, *, on: bool) -> None:
        """Turn the receive queue on or off; what is in it will be read first."""
        self.lives.kernel_queue = on
        self._received.wake()
        self._news.set()

    async def _serve(self) -> None:
        """Look at the port whenever there is news."""
        while await self._news.wait():
            self._news.clear()
            await self._service()

    async def _service(self) -> None:
        """Deal with the port until it interrupts no more."""
        fruitless = 0
        while True:
            before = self.requests
            await self._settle_mask()
            cause = await self._receive()
            if cause == Iir.NONE:
                return
            await self._deal_with(cause)
            fruitless = fruitless + 1 if self.requests == before else 0
            if fruitless >= STORM_ROUNDS:
                fruitless = 0
                self.counters.storms += 1
                log.warning("an interrupt storm", device=self.name, iir=cause, rounds=STORM_ROUNDS)
                await asyncio.sleep(STORM_PAUSE_S)
            await asyncio.sleep(0)  # readers have their turn, however fast the bus is

    async def _settle_mask(self) -> None:
        """Mask or unmask the receiver, and do the reading that a reader has asked for."""
        queue = self._received
        if self._masked and not self.kernel_queue and self._wanted:
            wanted, self._wanted = self._wanted, 0
            self._store(await self.raw.poll(min(wanted, queue.room)))
            await self._unmask()
        elif self._masked and self.kernel_queue and queue.room >= queue.limit // 2:
            await self._unmask()
        elif not self._masked and self.kernel_queue and queue.room < FIFO_SIZE:
            self.counters.held_back += 1
            await self._mask()
        await self._ask_for_pause()

    async def _receive(self) -> int | None:
        """Read what the interrupt says is there; return what interrupts behind that."""
        if self._masked or not self.kernel_queue:
            return await self.raw.identify()
        received = await self.raw.take(self._received.room)
        self._store(received)
        return received.cause

    async def _deal_with(self, cause: int | None) -> None:
        """Deal with an interrupt; None is a character with an error."""
        match cause:
            case Iir.RECEIVED_DATA if self.kernel_queue:
                pass  # the next round takes it
            case Iir.THR_EMPTY:
                self._sender.transmitter_empty()
            case Iir.MODEM_STATUS:
                self._take_modem_status(await self.raw.modem_status())
            case None | Iir.RECEIVED_DATA | Iir.CHARACTER_TIMEOUT | Iir.LINE_STATUS:
                if self._masked:
                    await self.raw.line_status()  # clears what is left from before the mask
                elif not self.kernel_queue:
                    await self._mask()
                    self._received.wake()
                else:
                    self._store(await self.raw.poll(min(FIFO_SIZE, self._received.room)))
            case _:
                pass  # no interrupt of this chip: the count of fruitless rounds bounds it

    async def _mask(self) -> None:
        """Leave characters in the FIFO, and have no interrupts of the receiver."""
        self._masked = True
        await self.raw.set_interrupts(off=RECEIVER)

    async def _unmask(self) -> None:
        """Take characters again; if some are there already, they interrupt at once."""
        self._masked = False
        await self.raw.set_interrupts(RECEIVER)

    async def _ask_for_pause(self) -> None:
        """Drop RTS while the queue is nearly full."""
        queue, asserted = self._received, bool(self.raw.mcr & Mcr.RTS)
        if asserted and queue.room <= queue.limit // 4:
            await self.raw.set_modem(off=Mcr.RTS)
        elif not asserted and self._may_go_on():
            await self.raw.set_modem(Mcr.RTS)

    def _may_go_on(self) -> bool:
        """Say whether a far end that was asked to pause may send again."""
        return self._received.room >= self._received.limit - self._received.limit // 4

    def _store(self, received: Received) -> None:
        """Put characters into the queue; a break is told of instead.

        What comes once the port has failed was not read: the next process is given it again.
        """
        if self.failed.done():
            return
        data = received.data
        counters = self.counters
        counters.received += len(data)
        self.lives.now.received += len(data)
        self.requests += bool(data)
        for index, errors in reversed(received.errors):
            if errors & Lsr.BI:  # with PE and FE, which mean nothing then (8.4)
                counters.breaks += 1
                del data[index]
            else:
                counters.parity_errors += bool(errors & Lsr.PE)
                counters.framing_errors += bool(errors & Lsr.FE)
        self._received.put(data)
        for _, errors in received.errors:
            if errors & Lsr.BI:
                self.on_break()

    def _take_modem_status(self, status: int) -> None:
        """Note what the far end's lines are."""
        self.modem = Msr(status) & MODEM_LINES
        if status & ~MODEM_LINES:
            self.counters.modem_changes += 1

    def _count_sent(self, characters: int) -> None:
        """Count a burst that the port has taken."""
        self.counters.sent += characters
        self.requests += bool(characters)

    def _check(self) -> None:
        """Raise what the port has failed with."""
        if self.failed.done():
            raise self.failed.result().again()
