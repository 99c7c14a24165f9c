"""Input on its way to the machine: what is held, what is sent, what has left the line.

Places count the characters of one terminal over all its streams; a break is one character.
Invariant: settled <= sent <= put <= settled + WINDOW, and whoever calls holds the terminal's lock.
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
WINDOW = 256 << 10
"""Characters that have not left the line: a sender that has so many waits."""


@dataclass
class Ticket:
    """The input of one call: places from `start` on, to `end`."""

    start: int
    end: int
    overrun_before: int
    uncertain: int = 0
    """Characters of it that were under way when a stream ended."""


class Outbox:
    """The accounts of one terminal's input."""

    def __init__(self) -> None:
        self.overrun = 0
        self.settled = 0
        """Characters that have left the line, or were lost sight of with their stream."""
        self._put = 0
        self._sent = 0
        self._held: deque[tuple[int, pb.Input]] = deque()
        self._tickets: list[Ticket] = []
        self._stream_start = 0
        self._stream_overrun = 0

    @property
    def room(self) -> int:
        """Characters that may be put now."""
        return WINDOW - (self._put - self.settled)

    def open(self) -> Ticket:
        """Begin the account of a call."""
        ticket = Ticket(self._put, self._put, self.overrun)
        self._tickets.append(ticket)
        return ticket

    def close(self, ticket: Ticket) -> None:
        """End the account of a call; its input stays."""
        self._tickets.remove(ticket)

    def put(self, ticket: Ticket, message: pb.Input) -> None:
        """Take one message of input, for which there is room."""
        characters = max(1, len(message.data))
        self._held.append((characters, message))
        self._put += characters
        ticket.end = self._put

    def send(self) -> Iterator[pb.Input]:
        """Hand over what is held, to a stream that is there."""
        while self._held:
            characters, message = self._held.popleft()
            self._sent += characters
            yield message

    def begin(self) -> None:
        """Begin a stream."""
        self._stream_start = self._sent
        self._stream_overrun = self.overrun

    def taken(self, characters: int, overrun: int) -> None:
        """Note what has left the line since the stream began; never more than was sent."""
        self.settled = max(self.settled, min(self._sent, self._stream_start + characters))
        self.overrun = max(self.overrun, self._stream_overrun + overrun)

    def end(self) -> int:
        """Lose sight of what is under way, with its stream; returns how many characters that is."""
        uncertain = self._sent - self.settled
        for ticket in self._tickets:
            first, last = max(ticket.start, self.settled), min(ticket.end, self._sent)
            ticket.uncertain += max(0, last - first)
        self.settled = self._sent
        return uncertain
