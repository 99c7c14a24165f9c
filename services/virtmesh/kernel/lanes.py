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
    """The connections to one device for calls of one sort. `name` is the limit of their number."""

    def __init__(self, endpoint: str, name: str, limits: Limits) -> None:
        self.use = Use(name, limits.value(name), limits.value(name + PER_CLIENT))
        self._endpoint = endpoint
        self._each = max(1, min(LANE_CALLS, limits.calls_per_connection // 4))
        self._lanes: list[Lane] = []
        """Idle ones come in the order in which their last call ended."""
        self._returning: set[asyncio.TimerHandle] = set()

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
        for lane in list(self._lanes):
            await lane.channel.close()

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
            return self._lanes[-1]
        return min(room, key=lambda lane: lane.held)

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
