"""The input that is under way to the chip: bounded, in order, its senders in turn.

Invariant: `waiting` is the sum of what is left of the queued inputs, and at most LINE_LIMIT. Nobody
takes the room of a sender that has its turn: while senders wait, `free` is 0 for everybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from virtmesh.uart.port import LINE_LIMIT, Flow, LineError
from virtmesh_common.uart.errors import LineFull

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.uart.port import OnTaken

LOW_WATER = LINE_LIMIT // 2
"""Characters on the line at which a sender that waits gets its turn."""
TURN = LINE_LIMIT // 4
"""Most characters that one of several waiting senders puts on the line in its turn."""
BREAK = b"\0"
"""The one character that a break is received as (PC16550D, 8.4, bit 4)."""


@dataclass(eq=False)
class QueuedInput:
    """Characters that one sender put on the line in the same way."""

    data: bytes
    error: LineError
    flow: Flow
    on_taken: OnTaken | None
    gone: int = 0
    """How many have left the line."""

    @property
    def left(self) -> int:
        """How many are still on the line."""
        return len(self.data) - self.gone


class InputQueue:
    """What is under way on one line."""

    def __init__(self) -> None:
        self.waiting = 0
        """Characters on the line."""
        self.without_flow_control = 0
        """Queued inputs whose senders do not wait for room (Flow.NONE)."""
        self.refused_bytes = 0
        """Characters that were refused since they did not fit."""
        self._inputs: deque[QueuedInput] = deque()
        self._turns: deque[asyncio.Future[None]] = deque()
        """Senders that wait for room; the first one's turn may have come."""

    @property
    def first(self) -> QueuedInput | None:
        """The input whose characters arrive next."""
        return self._inputs[0] if self._inputs else None

    @property
    def free(self) -> int:
        """Characters that a sender may put on the line at once; 0 while others wait."""
        return 0 if self._turns else LINE_LIMIT - self.waiting

    def require(self, characters: int) -> None:
        """Check that so many characters fit at once, and count them if not. Errors: LineFull."""
        if characters > self.free:
            self.refused_bytes += characters
            raise LineFull(
                f"{characters} characters do not fit: the line has room for {self.free} of"
                f" {LINE_LIMIT}; send them in parts, or on a stream, which waits",
                room_bytes=self.free,
            )

    def append(self, new: QueuedInput) -> None:
        """Put an input on the line, which has room for it."""
        self.waiting += new.left
        self.without_flow_control += new.flow is Flow.NONE
        self._inputs.append(new)

    def put_back(self, old: QueuedInput) -> None:
        """Put an input before everything else: it had left the line, and must once more."""
        self.waiting += old.left
        self.without_flow_control += old.flow is Flow.NONE
        self._inputs.appendleft(old)

    def behind(self, place: int) -> Iterator[tuple[QueuedInput, int]]:
        """Yield the input that has a character, and the index of that in it; then those behind.

        Nothing may join or leave meanwhile. It is looked for from the end: what is there comes one
        input at a time, and most of what waits is before it.
        """
        left, inputs = self.waiting - place, len(self._inputs)
        for one in reversed(self._inputs):
            if left <= 0:
                break
            left -= one.left
            inputs -= 1
        start = max(0, -left)
        for one in islice(self._inputs, inputs, None):
            yield one, one.gone + start
            start = 0

    def drop(self, count: int, lost: int) -> None:
        """Let characters of the first input leave; its sender learns how many were lost."""
        first = self._inputs[0]
        first.gone += count
        self.waiting -= count
        if not first.left:
            self._inputs.popleft()
            self.without_flow_control -= first.flow is Flow.NONE
        if first.on_taken is not None:
            first.on_taken(count, lost)
        self._give_turn()

    async def turn(self) -> int:
        """Wait until there is room and all who waited before have had their turn.

        Return how many characters may be put on the line now, before anything else is awaited.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        finally:
            self._turns.remove(turn)
            # The next one's turn comes when this one has put what it has, or has given up.
            asyncio.get_running_loop().call_soon(self._give_turn)
        room = LINE_LIMIT - self.waiting
        return min(TURN, room) if self._turns else room

    def _give_turn(self) -> None:
        """Give the sender that has waited longest its turn, once there is room for one."""
        if self._turns and self.waiting <= LOW_WATER and not self._turns[0].done():
            self._turns[0].set_result(None)
