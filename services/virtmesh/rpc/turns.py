"""Turns: one piece of work in each pass of the event loop, clients in turn.

What runs on an event loop holds up all else for as long as it runs. Work that comes in many pieces,
such as the messages of a long read or the slices of a batch, takes a turn for each, so that what is
short finds the loop free after one piece, whatever is under way.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from virtmesh.rpc.regulars import Regulars

CROWD = 12
"""As many calls wait at least when turns are paced."""
CROWD_OF_PIECES = 4
"""As many pieces of long work: so many that never pause would take the processor from others."""
PACE_S = 0.001
"""Time between turns that are paced. Under a crowd a service would keep its processor busy all the
time, and then each wake-up between its threads waits for others: short calls take many."""
YIELDS = 8
"""Passes in a row that may go by without a turn."""


class Turns:
    """Gives turns. Use it on one event loop only.

    After a pass in which `before` gave a turn it gives none, YIELDS passes in a row at most: gRPC
    hands a service one call in each pass, so calls that have come wait for as many passes as there
    are, and those have to be short.
    """

    def __init__(self, before: Turns | None = None) -> None:
        self._crowd = CROWD if before is None else CROWD_OF_PIECES
        self._before = before
        self._regulars = Regulars()
        self._seen = 0
        self._yielded = 0
        self.given = 0
        """Turns given so far."""
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Those that wait, by line; the line whose turn is next comes first."""
        self._taken = False
        """The turn of this pass is taken."""
        self.waiting = 0
        """How many wait."""

    def knows(self, client: str) -> bool:
        """Say whether a client is a regular."""
        return client in self._regulars

    def visit(self, client: str) -> None:
        """Note that a client has called, without a turn."""
        self._regulars.visit(client)

    async def take(self, client: str = "") -> None:
        """Wait for a turn: a regular, behind one of each other client at most."""
        loop = asyncio.get_running_loop()
        line = self._regulars.visit(client)
        if not self._taken:
            self._taken = True
            self.given += 1
            loop.call_soon(self._next)
            return
        turn = loop.create_future()
        self._lines.setdefault(line, deque()).append(turn)
        self.waiting += 1
        await turn

    def _next(self) -> None:
        """Give the turn of this pass."""
        if self._lines and self._yields():
            asyncio.get_running_loop().call_soon(self._next)
            return
        while self._lines:
            client, line = next(iter(self._lines.items()))
            turn = line.popleft()
            self.waiting -= 1
            if line:
                self._lines.move_to_end(client)
            else:
                del self._lines[client]
            if not turn.done():  # Otherwise its call was cancelled.
                turn.set_result(None)
                self.given += 1
                loop = asyncio.get_running_loop()
                if self.waiting >= self._crowd:
                    loop.call_later(PACE_S, self._next)
                else:
                    loop.call_soon(self._next)
                return
        self._taken = False

    def _yields(self) -> bool:
        """Say whether this pass is left to what goes before."""
        if self._before is None or self._before.given == self._seen or self._yielded >= YIELDS:
            self._yielded = 0
            return False
        self._seen = self._before.given
        self._yielded += 1
        return True
