"""Input on its way to the machine: held, sent, and settled (it has left the line).

Positions count the characters of one terminal over all its streams. A break counts as one.
Invariants: settled <= sent <= put <= settled + UNSETTLED_MAX. All callers hold the lock of the
terminal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_common.api.uart.v1 import uart_pb2 as pb

CHUNK_BYTES = 64 << 10
"""Most input in one message (virtmesh.uart.v1.Input)."""
UNSETTLED_MAX = 256 << 10
"""Limit for characters that have not left the line. A sender that reaches it waits."""


@dataclass
class Ticket:
    """The input of one call, from position `start` to position `end`."""

    start: int
    end: int
    overrun_before: int
    uncertain: int = 0
    """Characters of this input that were under way when a stream ended."""


class Outbox:
    """The input of one terminal that has not been settled."""

    def __init__(self) -> None:
        self.overrun = 0
        self.settled = 0
        """Characters that have left the line, or were under way when their stream ended."""
        self._put = 0
        self._sent = 0
        self._held: deque[tuple[int, pb.Input]] = deque()
        self._tickets: list[Ticket] = []
        self._stream_start = 0
        self._stream_overrun = 0

    @property
    def room(self) -> int:
        """Number of characters that `put` accepts now."""
        return UNSETTLED_MAX - (self._put - self.settled)

    def open(self) -> Ticket:
        """Return a ticket for the input of a call."""
        ticket = Ticket(self._put, self._put, self.overrun)
        self._tickets.append(ticket)
        return ticket

    def close(self, ticket: Ticket) -> None:
        """Forget the ticket of a call that has ended. Its input is still sent."""
        self._tickets.remove(ticket)

    def put(self, ticket: Ticket, message: pb.Input) -> None:
        """Hold one message of input. The caller has checked `room`."""
        characters = max(1, len(message.data))
        self._held.append((characters, message))
        self._put += characters
        ticket.end = self._put

    def send(self) -> Iterator[pb.Input]:
        """Yield the held messages, to be sent on the open stream."""
        while self._held:
            characters, message = self._held.popleft()
            self._sent += characters
            yield message

    def begin(self) -> None:
        """Note that a stream begins."""
        self._stream_start = self._sent
        self._stream_overrun = self.overrun

    def taken(self, characters: int, overrun: int) -> None:
        """Note how many characters have left the line since the stream began.

        The service sends the numbers, so they are limited to what was sent.
        """
        self.settled = max(self.settled, min(self._sent, self._stream_start + characters))
        self.overrun = max(self.overrun, self._stream_overrun + overrun)

    def end(self) -> int:
        """Note that the stream ended. Returns how many characters were under way."""
        uncertain = self._sent - self.settled
        for ticket in self._tickets:
            first, last = max(ticket.start, self.settled), min(ticket.end, self._sent)
            ticket.uncertain += max(0, last - first)
        self.settled = self._sent
        return uncertain
