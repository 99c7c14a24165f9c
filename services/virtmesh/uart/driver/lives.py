"""What a serial port has in common through all lives of its process, for the kernel.

Characters that came and were not read, and those that were written and not sent, belong to no
process. Of those that were sent, the last are kept: a process may have taken them and be gone
before anybody saw them on the line.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from virtmesh.uart.driver.byte_queue import ByteQueue
from virtmesh_common.time_limit import time_limit

TAPE_BYTES = 128 << 10
"""How much of what was sent is kept."""
SETTLE_S = 1.0
"""Longest wait until it is known what a process had sent that is gone."""


@dataclass
class Life:
    """What became of characters in one process of the port."""

    received: int = 0
    """Characters that the driver has taken from it."""
    sent: int = 0
    """Characters that it has taken, as far as it has said so."""
    in_doubt: int = 0
    """Characters at the begin of `to_send` that it may have taken as well."""


class SerialLives:
    """One port, whichever process serves it. Queues have `queue_bytes` each, at least one FIFO."""

    def __init__(self, queue_bytes: int, received_bytes: int) -> None:
        self.received = ByteQueue(received_bytes)
        self.to_send = ByteQueue(queue_bytes)
        self.kernel_queue = True
        self.now = Life()
        """That of the present process, or of the next one once that has gone."""
        self.replaced = self.resumed = self.restored = self.lost = 0
        """Processes that were replaced; characters that were sent again, shown although their
        process had not, and of which nobody knows."""
        self.has_relay = False
        self._tape = bytearray()
        self._settled = asyncio.Event()
        self._settled.set()
        self._ended: Life | None = None
        """That of a process that has gone, until it is settled; of several, the first."""

    def waits_for(self, life: Life) -> bool:
        """Say whether nothing is sent until it is known what was done in a life that has ended."""
        return self._ended is life

    def begin_burst(self, characters: int) -> None:
        """Note that the process is given so many characters of `to_send`."""
        self.now.in_doubt = characters

    def sent(self, characters: int, life: Life | None = None) -> None:
        """Note that the process, or one that has gone, has taken so many of them."""
        life = life or self.now
        life.in_doubt = 0
        life.sent += characters
        self._tape += self.to_send.peek(characters)
        del self._tape[: max(0, len(self._tape) - TAPE_BYTES)]
        self.to_send.drop(characters)

    def last_sent(self, characters: int) -> bytes:
        """Return the last characters that were sent, or as many of them as are kept."""
        return bytes(self._tape[max(0, len(self._tape) - characters) :]) if characters else b""

    def orphan(self) -> None:
        """Note that the process has gone by itself: what is counted now is the next one's."""
        self.replaced += 1
        ended, self.now = self.now, Life()
        if self.has_relay and self._ended is None:
            self._ended = ended
            self._settled.clear()

    def settle(self) -> None:
        """Note that it is known what a process did that has gone, or never will be."""
        self._ended = None
        self._settled.set()

    async def until_settled(self) -> None:
        """Wait until what is to be sent is known."""
        with suppress(TimeoutError):
            async with time_limit(SETTLE_S):
                await self._settled.wait()
        self.settle()
