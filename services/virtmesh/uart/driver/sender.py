"""The half of the serial driver that sends: a queue, and the one task that writes the port.

Invariant: `run` alone takes characters from the queue, and only those that the port has taken. The
THRE interrupt is enabled only while `run` waits for a transmitter that was busy, or has just ended
to. Writers take turns: one writes its data whole before the next one begins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.attach.bus import BATCH_LIMIT
from virtmesh_common.uart.spec import Ier, Lsr

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.uart.driver.byte_queue import ByteQueue
    from virtmesh.uart.driver.line_setting import LineSetting
    from virtmesh.uart.driver.lives import SerialLives
    from virtmesh.uart.driver.raw import NS16550aRaw

DRAIN_PAUSE_MAX_S = 0.05
"""Longest pause between two looks at whether the transmitter is empty, in seconds."""


class Sender:
    """The transmit queue of one port, which outlives its process.

    `check` raises what the port has failed with, if it has; `on_sent` is called with the number of
    characters of each burst that the port has taken.
    """

    def __init__(
        self,
        raw: NS16550aRaw,
        lives: SerialLives,
        *,
        check: Callable[[], None],
        on_sent: Callable[[int], None],
    ) -> None:
        self._raw = raw
        self._check = check
        self._on_sent = on_sent
        self._lives = lives
        self._writing = asyncio.Lock()
        self._transmitter_empty = asyncio.Event()

    @property
    def _queue(self) -> ByteQueue:
        return self._lives.to_send

    def take_over(self, lives: SerialLives) -> None:
        """Send what was left, before anything else is written."""
        self._lives = lives

    def __len__(self) -> int:
        """Return how many characters wait to be sent."""
        return len(self._queue)

    def transmitter_empty(self) -> None:
        """Go on: the port has interrupted since its transmitter is empty."""
        self._transmitter_empty.set()

    def wake(self) -> None:
        """Let everyone who waits look again: the port has failed."""
        self._queue.wake()
        self._transmitter_empty.set()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Put data into the queue, in one piece; wait for room.

        When it is cancelled, the part that is in the queue is sent.
        Errors: DeviceLost, DriverError.
        """
        rest = memoryview(data)
        async with self._writing:
            while rest := rest[await self.put(rest) :]:
                pass

    async def put(self, data: memoryview) -> int:
        """Put as much of data into the queue as there is room for; wait for some room.

        Errors: DeviceLost, DriverError: none of it is in the queue.
        """
        self._check()
        while not (taken := self._queue.put(data)) and data:
            await self._queue.changed()
            self._check()
        return taken

    async def drain(self) -> None:
        """Wait until all that was written has left the port, stop bit and all.

        There is no interrupt for that: the port is asked, at growing intervals.
        Errors: DeviceLost, DriverError.
        """
        while self._queue:
            self._check()
            await self._queue.changed()
        self._check()
        pause = self._raw.character_s
        while not await self._raw.line_status() & Lsr.TEMT:
            await asyncio.sleep(pause)
            self._check()
            pause = min(2 * pause, DRAIN_PAUSE_MAX_S)

    async def send_break(self, seconds: float) -> None:
        """Send a break, behind what was written. Errors: DeviceLost, DriverError."""
        async with self._writing:
            await self.drain()
            try:
                await self._raw.set_break(on=True)
                await asyncio.sleep(seconds)
            finally:
                await self._raw.set_break(on=False)

    async def set_line(self, setting: LineSetting) -> None:
        """Set speed and format, behind what was written. Errors: DeviceLost, DriverError."""
        async with self._writing:
            await self.drain()
            await self._raw.set_line(setting)

    async def run(self) -> None:
        """Send what is in the queue, for ever."""
        await self._lives.until_settled()
        queue = self._queue
        while True:
            if not queue:
                await self._raw.set_interrupts(off=Ier.ETBEI)
            while not queue:
                await queue.changed()
            self._transmitter_empty.clear()
            burst = queue.peek(BATCH_LIMIT)
            self._lives.begin_burst(len(burst))
            sent = await self._raw.write_burst(burst)
            self._check()  # What a process took that has gone since is found out by its relay.
            self._lives.sent(sent)
            self._on_sent(sent)
            if not sent:
                # The transmitter is busy: it interrupts when it is not, at once if that is so now.
                await self._raw.set_interrupts(Ier.ETBEI)
                await self._transmitter_empty.wait()
            await asyncio.sleep(0)  # readers have their turn, however fast the bus is
