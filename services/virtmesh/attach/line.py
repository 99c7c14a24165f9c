"""What a driver makes of the interrupt line as it is told (virtmesh.interrupt.v1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.attach.eventfd import drain
from virtmesh.attach.exchange import Answer, Exchange

if TYPE_CHECKING:
    from virtmesh.attach.exchange import RegisterTransport


class LineObserver:
    """Tells interrupts from the other changes of a line: falls, and causes that were cleared."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._causes = 0

    def shows_interrupt(self, sequence: int, causes: int) -> bool:
        """Return True if there was an interrupt since the last state, or a cause was added.

        An acknowledgement can also clear the bits of the next interrupt: its sequence number still
        shows that it was raised.
        """
        raised = self._sequence is not None and sequence != self._sequence
        added = causes & ~self._causes
        self._sequence, self._causes = sequence, causes
        return raised or bool(added)


class LineEventfd:
    """Asks for the line, by a batch of no accesses, when its eventfd is signalled.

    The answer tells the state to whoever observes the transport's answers. One question is under
    way at a time, whatever the device does to the eventfd.
    """

    def __init__(self, descriptor: int, registers: RegisterTransport) -> None:
        self._descriptor = descriptor
        self._registers = registers
        self._asking = False
        self._again = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._signalled)
        self._ask()

    def close(self) -> None:
        """Stop asking."""
        self._closed = True
        self._loop.remove_reader(self._descriptor)

    def _signalled(self) -> None:
        """Ask, now or after the answer that is awaited: that may be older than the signal."""
        if drain(self._descriptor):
            if self._asking:
                self._again = True
            else:
                self._ask()

    def _ask(self) -> None:
        """Ask for the line."""
        self._asking, self._again = True, False
        exchange = Exchange([])
        exchange.answer.add_done_callback(self._answered)
        self._registers.submit(exchange)

    def _answered(self, answer: asyncio.Future[Answer]) -> None:
        """Go on after an answer; not after a loss, which the transport tells."""
        self._asking = False
        if answer.exception() is None and self._again and not self._closed:
            self._ask()
