"""Requests that have not come whole: how many there may be at a time, and for how long.

gRPC collects a message where nobody counts it, up to MESSAGE_LIMIT_BYTES, once it is asked for. So
a request is asked for when its caller has been let in and has a place here; others wait for one,
clients in turn. A request that has a place and does not come whole within `stalled-ms` loses it
when another waits, and each does after `request-seconds`. Until it is asked for, a request takes
what gRPC lets a client send unasked: 64 KiB.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from virtmesh.rpc.client_key import way_of
from virtmesh_common.errors import LimitReached
from virtmesh_common.limits import PER_CLIENT

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable

    from virtmesh.rpc.turns import Turns

TICK_S = 0.001
"""Least time between two looks at requests that wait."""
OWN_STALLS = 8
"""A request leaves for another one of the same client after so many times as long: it may be slow
because of the others, but one who gives no name shares its key with all who give none."""
LOOKED_AT = 32
"""So many clients are looked at, in turn, for one whose request fits."""


class Places(Protocol):
    """What counts them: virtmesh.rpc.budgets.Use."""

    name: str
    by_client: Counter[str]
    turns: Turns

    def blocker(self, client: str, amount: int) -> str | None:
        """Return the limit that refuses a client so many more, or None."""

    def take(self, client: str, amount: int) -> None:
        """Note that a client has more."""

    def give(self, client: str, amount: int) -> None:
        """Note that a client has less."""

    def refusal(self, blocker: str) -> LimitReached:
        """Count a refusal, and return what the client is told."""


@dataclass(eq=False, slots=True)
class Coming:
    """A request that was asked for."""

    client: str
    task: asyncio.Task[Any] | None
    """What waits for it."""
    since: float
    refusal: LimitReached | None = None
    """Why it lost its place."""

    def end(self, refusal: LimitReached) -> None:
        """Take its place away."""
        if self.refusal is None and self.task is not None:
            self.refusal = refusal
            self.task.cancel()


@dataclass(eq=False, slots=True)
class Waiting:
    """One that waits for a place."""

    client: str
    turn: asyncio.Future[None]


Lines = OrderedDict[str, "deque[Waiting]"]
"""Those that wait, by client; the client whose turn is next comes first."""


class Reception:
    """The places of one service: `use` counts them. Use it on one event loop.

    A request leaves for another one after `stalled_s`, and after `limit_s` in any case. No more
    than a `crowd` of clients that have not called before wait, nor of requests of one client.
    """

    def __init__(
        self, use: Places, stalled_s: float, limit_s: int, crowd: int | None = None
    ) -> None:
        self._use = use
        self._stalled_s = stalled_s
        self._limit_s = limit_s
        self._crowd = crowd
        self._coming: dict[Coming, None] = {}
        """In the order in which they were asked for."""
        self._groups: OrderedDict[tuple[str, bool], Lines] = OrderedDict()
        """Those that wait, by the way that they come, and whether they have called before. The
        group whose turn is next comes first."""
        self._timer: asyncio.TimerHandle | None = None
        self._hurries = False
        """The timer is one for requests that wait."""

    async def receive(self, client: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask for a request once there is a place for it. Errors: LimitReached; those of `ask`."""
        if self._waits(client) or self._use.blocker(client, 1):
            await self._wait(client)
        else:
            self._use.take(client, 1)
        loop = asyncio.get_running_loop()
        coming = Coming(client, asyncio.current_task(), loop.time())
        self._coming[coming] = None
        if self._timer is None:
            self._timer = loop.call_later(self._limit_s / 4, self._look)
        try:
            return await ask()
        except asyncio.CancelledError:
            if coming.refusal is None or coming.task is None or coming.task.uncancel():
                raise  # the client has gone, or the service stops
            raise coming.refusal from None
        finally:
            del self._coming[coming]
            self._use.give(client, 1)
            self._serve()

    def _waits(self, client: str) -> bool:
        """Say whether requests of a client wait."""
        way = way_of(client)
        return any(client in self._groups.get((way, known), ()) for known in (True, False))

    async def _wait(self, client: str) -> None:
        """Wait for a place, and take it."""
        group = way_of(client), self._use.turns.knows(client)
        lines = self._groups.setdefault(group, OrderedDict())
        if not group[1] and self._crowd is not None and len(lines) >= self._crowd:
            raise self._use.refusal(self._use.name)
        line = lines.setdefault(client, deque())
        if self._crowd is not None and len(line) >= self._crowd:
            raise self._use.refusal(self._use.name)
        one = Waiting(client, asyncio.get_running_loop().create_future())
        line.append(one)
        if not self._hurries:
            if self._timer is not None:
                self._timer.cancel()
            self._look()
        try:
            await one.turn
        except asyncio.CancelledError:
            if one.turn.done() and not one.turn.cancelled():
                self._use.give(client, 1)
            raise
        finally:
            if one in line:
                line.remove(one)
            if not line and lines.get(client) is line:
                del lines[client]
            if not lines and self._groups.get(group) is lines:
                del self._groups[group]
            self._serve()

    def _serve(self) -> None:
        """Give the places that are free to those that wait.

        Who gets one, or has all that it may have, is behind the others after that.
        """
        if not self._groups:
            return
        self._groups.move_to_end(next(iter(self._groups)))
        for lines in list(self._groups.values()):
            for client in list(islice(lines, LOOKED_AT)):
                blocker = self._use.blocker(client, 1)
                if blocker in {None, self._use.name + PER_CLIENT}:
                    lines.move_to_end(client)
                if blocker is None:
                    one = lines[client].popleft()
                    if not lines[client]:
                        del lines[client]
                    if not one.turn.done():  # else it has gone
                        self._use.take(client, 1)
                        one.turn.set_result(None)

    def _look(self) -> None:
        """End what takes too long, now and for as long as requests come."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for coming in self._coming:
            if now - coming.since < self._limit_s:
                break
            coming.end(self._late())
        self._hurries = bool(self._groups)
        if self._hurries:
            self._serve()
            self._make_room(now)
            self._timer = loop.call_later(max(TICK_S, self._stalled_s / 4), self._look)
        elif self._coming:
            self._timer = loop.call_later(self._limit_s / 4, self._look)

    def _make_room(self, now: float) -> None:
        """End requests that take long, one for each that waits, where that gives it a place."""
        slow = [
            one
            for one in self._coming
            if now - one.since >= self._stalled_s and one.refusal is None
        ]
        slow.sort(key=self._rank)
        waiting = (
            client
            for lines in self._groups.values()
            for client, line in lines.items()
            for _ in line
        )
        for client in islice(waiting, len(slow)):
            blocker = self._use.blocker(client, 1)
            before = now - self._stalled_s
            if blocker == self._use.name + PER_CLIENT:  # It waits for itself.
                before = now - OWN_STALLS * self._stalled_s
            helpful = (one for one in slow if one.since <= before and self._helps(one, client))
            leaves = next(helpful, None)
            if blocker and leaves:
                slow.remove(leaves)
                leaves.end(self._use.refusal(blocker))

    def _helps(self, coming: Coming, client: str) -> bool:
        """Say whether a client has a place if a request leaves."""
        self._use.give(coming.client, 1)
        try:
            return self._use.blocker(client, 1) is None
        finally:
            self._use.take(coming.client, 1)

    def _rank(self, coming: Coming) -> tuple[bool, int, float]:
        """Say who leaves first: newcomers, who has most, and who has been here longest."""
        held = self._use.by_client[coming.client]
        return self._use.turns.knows(coming.client), -held, coming.since

    def _late(self) -> LimitReached:
        """Return what a client is told whose request took too long."""
        return LimitReached(
            f"the request did not come whole within {self._limit_s} s (the limit request-seconds):"
            " send it again, in smaller parts if it is large",
            limit="request-seconds",
            value=self._limit_s,
        )
