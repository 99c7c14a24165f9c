"""What a serial port has in common through all lives of its process, for the kernel.

Characters that came and were not read, and those that were written and not sent, belong to no
process. Of those that were sent, the last are kept: a process may have taken them and be gone
before anybody saw them on the line.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from virtmesh.uart.driver.byte_queue import ByteQueue
from virtmesh_common.time_limit import time_limit

TAPE_BYTES = 128 << 10
"""How much of what was sent is kept."""
SETTLE_S = 1.0
"""Longest wait until it is known what a process had sent that is gone."""


class SerialLives:
    """One port, whichever process serves it. Queues have `queue_bytes` each, at least one FIFO."""

    def __init__(self, queue_bytes: int, received_bytes: int) -> None:
        self.received = ByteQueue(received_bytes)
        self.to_send = ByteQueue(queue_bytes)
        self.kernel_queue = True
        self.received_now = 0
        """Characters that the driver has taken from the present process."""
        self.sent_now = 0
        """Characters that the present process has taken, as far as it has said so."""
        self.in_doubt = 0
        """Characters at the begin of `to_send` that it may have taken as well."""
        self.replaced = self.resumed = self.restored = self.lost = 0
        """Processes that were replaced; characters that were sent again, shown although their
        process had not, and of which nobody knows."""
        self.has_relay = False
        self._tape = bytearray()
        self._settled = asyncio.Event()
        self._settled.set()

    def begin_burst(self, characters: int) -> None:
        """Note that the process is given so many characters of `to_send`."""
        self.in_doubt = characters

    def sent(self, characters: int) -> None:
        """Note that the process has taken so many of them."""
        self.in_doubt = 0
        self.sent_now += characters
        self._tape += self.to_send.peek(characters)
        del self._tape[: max(0, len(self._tape) - TAPE_BYTES)]
        self.to_send.drop(characters)

    def last_sent(self, characters: int) -> bytes:
        """Return the last characters that were sent, or as many of them as are kept."""
        return bytes(self._tape[max(0, len(self._tape) - characters) :]) if characters else b""

    def orphan(self) -> None:
        """Note that the process has gone by itself."""
        self.replaced += 1
        if self.has_relay:
            self._settled.clear()
        else:
            self.settle()

    def settle(self) -> None:
        """Begin with the next process: what the last one did is known, or never will be."""
        self.received_now = self.sent_now = self.in_doubt = 0
        self._settled.set()

    async def until_settled(self) -> None:
        """Wait until what is to be sent is known."""
        with suppress(TimeoutError):
            async with time_limit(SETTLE_S):
                await self._settled.wait()
        if not self._settled.is_set():
            self.settle()
