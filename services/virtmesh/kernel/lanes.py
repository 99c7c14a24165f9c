"""The connections that calls of clients take to one device, and how many calls may be on them.

A service takes so many calls on one connection (`calls-per-connection`); gRPC keeps more of them
back, without an error and for as long as those go on. So the calls of clients are counted before,
and there are connections enough for as many as may be under way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from virtmesh.rpc.budgets import Use, account
from virtmesh.telemetry.definitions import counter, gauge
from virtmesh_common.channel import open_channel
from virtmesh_common.limits import PER_CLIENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    import grpc.aio
    from prometheus_client import Metric

    from virtmesh_common.limits import Limits

HELD = gauge(
    "virtmesh_machine_forwarded_calls",
    "Calls of clients that are under way at a device, by the limit of their number.",
    "calls",
    "device",
    "limit",
)
REFUSED = counter(
    "virtmesh_machine_forwarded_refused",
    "Calls that were not passed to a device, by the limit that refused them.",
    "calls",
    "device",
    "limit",
)
LANE_CALLS = 32
"""Most calls on one connection, unless a service takes fewer than four times as many."""
GIVEN_UP_S = 0.1
"""How long a call that was given up keeps its place: the device has to take it up, and end it."""
SURPLUS_S = 10.0
"""A connection more than were in use at once for so long is closed: each takes memory and sockets,
here and at the device."""


def metrics_of(uses: Iterable[tuple[str, Use]]) -> Iterable[Metric]:
    """Return the metrics of the lanes of devices, each with the name of its device."""
    known = list(uses)
    yield HELD.of(((name, use.name), use.held) for name, use in known)
    refused = [((name, use.name), use.refused) for name, use in known]
    of_one = [((name, use.name + PER_CLIENT), use.refused_per_client) for name, use in known]
    yield REFUSED.of(refused + of_one)


@dataclass(eq=False)
class Lane:
    """One connection, and whose calls are on it."""

    channel: grpc.aio.Channel
    by_client: Counter[str] = field(default_factory=Counter)
    held: int = 0


class Lanes:
    """The connections to one device for calls of one sort. `name` is the limit of their number.

    Those that were not needed for `surplus_s` seconds are closed, but for one.
    """

    def __init__(
        self, endpoint: str, name: str, limits: Limits, surplus_s: float = SURPLUS_S
    ) -> None:
        self.use = Use(name, limits.value(name), limits.value(name + PER_CLIENT))
        self._endpoint = endpoint
        self._each = max(1, min(LANE_CALLS, limits.calls_per_connection // 4))
        self._lanes: list[Lane] = []
        """Idle ones come in the order in which their last call ended."""
        self._returning: set[asyncio.TimerHandle] = set()
        self._surplus_s = surplus_s
        self._busy_most = 0
        """Most connections that had calls at once since the last look for a surplus."""
        self._look: asyncio.TimerHandle | None = None
        """The next look."""
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self) -> Place:
        """Take a place for the call that is being served. Errors: LimitReached."""
        mine = account()
        self.use.turns = mine.budgets.calls  # They know who has called this kernel before.
        if blocker := self.use.blocker(mine.client, 1):
            await mine.budgets.slow_down()
            raise self.use.refusal(blocker)
        self.use.take(mine.client, 1)
        lane = self._choose(mine.client)
        lane.held += 1
        if lane.held == 1:
            self._busy_most = max(self._busy_most, self._busy)
        lane.by_client[mine.client] += 1
        return Place(self, lane, mine.client)

    def give(self, lane: Lane, client: str, *, given_up: bool) -> None:
        """Take a place back, after a while if its call was given up."""
        if not given_up:
            self._return(lane, client)
            return

        def settled() -> None:
            self._returning.discard(timer)
            self._return(lane, client)

        timer = asyncio.get_running_loop().call_later(GIVEN_UP_S, settled)
        self._returning.add(timer)

    async def close(self) -> None:
        """Close the connections."""
        for timer in self._returning:
            timer.cancel()
        if self._look is not None:
            self._look.cancel()
        for lane in list(self._lanes):
            await lane.channel.close()
        await asyncio.gather(*self._closing)

    def _choose(self, client: str) -> Lane:
        """Return a connection with room: one of the client, or an idle one, or a new one.

        Clients share one only when there are as many as calls may need.
        """
        room = [lane for lane in self._lanes if lane.held < self._each]
        for lane in room:
            if client in lane.by_client:
                return lane
        for lane in room:
            if not lane.held:
                return lane
        if not room or len(self._lanes) * self._each < self.use.limit:
            self._lanes.append(Lane(open_channel(self._endpoint)))
            self._look_later()
            return self._lanes[-1]
        return min(room, key=lambda lane: lane.held)

    @property
    def _busy(self) -> int:
        """Connections that have calls."""
        return sum(lane.held > 0 for lane in self._lanes)

    def _look_later(self) -> None:
        """Have a surplus looked for, if that is not due already."""
        if self._look is None and len(self._lanes) > 1:
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(self._surplus_s, self._close_surplus)

    def _close_surplus(self) -> None:
        """Close what was not needed since the last look, that which is idle longest first."""
        self._look = None
        surplus = len(self._lanes) - max(1, self._busy_most)
        for lane in [one for one in self._lanes if not one.held][: max(0, surplus)]:
            self._lanes.remove(lane)
            closing = asyncio.ensure_future(lane.channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._busy_most = self._busy
        self._look_later()

    def _return(self, lane: Lane, client: str) -> None:
        """Take a place back."""
        self.use.give(client, 1)
        lane.held -= 1
        lane.by_client[client] -= 1
        if not lane.by_client[client]:
            del lane.by_client[client]
        if not lane.held:
            self._lanes.remove(lane)
            self._lanes.append(lane)


class Place:
    """A place for one call, until the end of the context. An exception gives the call up."""

    __slots__ = ("_client", "_lane", "_lanes")

    def __init__(self, lanes: Lanes, lane: Lane, client: str) -> None:
        self._lanes = lanes
        self._lane = lane
        self._client = client

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection for the call."""
        return self._lane.channel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        given_up = isinstance(error, asyncio.CancelledError)
        self._lanes.give(self._lane, self._client, given_up=given_up)
