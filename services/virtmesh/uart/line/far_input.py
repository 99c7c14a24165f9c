"""Input that the far end puts on a line: what every line does alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from virtmesh.uart.line.input_queue import BREAK, InputQueue, QueuedInput
from virtmesh.uart.port import Flow, LineError

if TYPE_CHECKING:
    from virtmesh.uart.port import OnTaken


class FarInput(ABC):
    """A part of virtmesh.uart.port.Line: the input."""

    def __init__(self) -> None:
        self._queue = InputQueue()

    @property
    def waiting(self) -> int:
        """Characters that have not left the line."""
        return self._queue.waiting

    @property
    def refused_bytes(self) -> int:
        """Characters that `send_now` refused."""
        return self._queue.refused_bytes

    async def send(
        self,
        data: bytes,
        *,
        error: LineError = LineError.NONE,
        flow: Flow = Flow.WAIT,
        on_taken: OnTaken | None = None,
    ) -> None:
        """Put input on the line, as soon as there is room; a break takes no data.

        When it is cancelled, the part that is on the line stays there. Senders take turns.
        """
        rest = BREAK if error is LineError.BREAK else data
        while rest:
            most = self._queue.free or await self._queue.turn()
            self._put(QueuedInput(rest[:most], error, flow, on_taken))
            rest = rest[most:]

    def send_now(
        self, data: bytes, *, error: LineError = LineError.NONE, flow: Flow = Flow.WAIT
    ) -> None:
        """Put all of the input on the line at once. Errors: LineFull."""
        data = BREAK if error is LineError.BREAK else data
        self._queue.require(len(data))
        if data:
            self._put(QueuedInput(data, error, flow, None))

    @abstractmethod
    def _put(self, new: QueuedInput) -> None:
        """Put characters on the line, which has room for them."""
