"""The memory that transfers of disks may take: over all clients, of one disk, and of one client.

A read needs little to go on (FLOOR), and gets more as it proceeds and there is room. A write needs
room for a whole message before it asks for one, since gRPC collects messages where nobody counts
them. So writes wait here for room, clients in turn. Who has room for a message and does not send
one for `stalled-ms` loses its stream if another one gets room by that.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.rpc.reception import OWN_STALLS
from virtmesh_common.errors import LimitReached
from virtmesh_common.limits import PER_CLIENT, PER_DISK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh.rpc.budgets import Budgets

DATA = "data-bytes"
"""The limit of all of it."""


@dataclass(eq=False)
class Share:
    """What one transfer has of the room."""

    disk: str
    client: str
    held: int = 0
    idle_since: float | None = None
    """When it began to wait for its client; None while it does not."""
    end: Callable[[LimitReached], None] | None = None
    """Ends the transfer."""
    turn: asyncio.Future[None] | None = field(default=None, repr=False)
    wanted: int = 0

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Wait for its client in the body."""
        self.idle_since = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.idle_since = None


class DataRoom:
    """The room of one kernel service. Use it on its event loop only."""

    def __init__(self, budgets: Budgets) -> None:
        limits = self._limits = budgets.limits
        self._use = budgets.use(DATA)
        self._per_disk = limits.value(DATA + PER_DISK)
        self._stalled_s = limits.stalled_ms / 1000
        self._transfers = budgets.use("transfers")
        self._disks: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[Share]] = OrderedDict()
        """Those that wait, by client; the client whose turn is next comes first."""
        self._shares: set[Share] = set()
        self._timer: asyncio.TimerHandle | None = None

    def fair(self) -> int:
        """Return what each read may have if all get the same, and writes find half of a disk's."""
        return self._per_disk // 2 // max(1, self._transfers.held)

    def open(self, disk: str, client: str) -> Share:
        """Begin a share of a transfer. `close` has to end it."""
        share = Share(disk, client)
        self._shares.add(share)
        return share

    def close(self, share: Share) -> None:
        """End a share."""
        self._shares.discard(share)
        self.resize(share, 0)

    def grow(self, share: Share, size: int) -> bool:
        """Resize a share if there is room for it. Returns whether there is."""
        if size > share.held and not self._fits(share, size - share.held):
            return False
        self.resize(share, size)
        return True

    def resize(self, share: Share, size: int) -> None:
        """Resize a share, whether there is room for it or not, and wake those that wait."""
        more = size - share.held
        if not more:
            return
        share.held = size
        self._count(share, more)
        if more < 0:
            self._serve()

    async def wait(self, share: Share, amount: int) -> None:
        """Wait until a share has so much more."""
        if share.client not in self._waiting and self.grow(share, share.held + amount):
            return
        loop = asyncio.get_running_loop()
        share.turn, share.wanted = loop.create_future(), amount
        line = self._waiting.setdefault(share.client, deque())
        line.append(share)
        self._serve()  # It may be behind one that waits for something else.
        self._watch_idle()
        try:
            await share.turn
        finally:
            if share in line:
                line.remove(share)
            if not line and self._waiting.get(share.client) is line:
                del self._waiting[share.client]
            if share.turn.cancelled():
                self._serve()

    def _count(self, share: Share, more: int) -> None:
        """Count so much more, or less, for a share."""
        self._disks[share.disk] += more
        if more > 0:
            self._use.take(share.client, more)
        else:
            self._use.give(share.client, -more)

    def _fits(self, share: Share, amount: int) -> bool:
        """Say whether there is room for so much more."""
        return self._blocker(share, amount) is None

    def _blocker(self, share: Share, amount: int) -> str | None:
        """Return the name of the limit that refuses so much more, or None."""
        if self._disks[share.disk] + amount > self._per_disk:
            return DATA + PER_DISK
        return self._use.blocker(share.client, amount)

    def _serve(self) -> None:
        """Give room to those that wait: of each client the first, clients in turn."""
        for client in list(self._waiting):
            line = self._waiting[client]
            first = next((one for one in line if self._may_go_on(one)), None)
            if first is None or first.turn is None:
                continue
            line.remove(first)
            self._waiting.move_to_end(client)
            if not line:
                del self._waiting[client]
            self.resize(first, first.held + first.wanted)
            first.turn.set_result(None)

    def _may_go_on(self, share: Share) -> bool:
        """Say whether one that waits has not gone, and fits."""
        return share.turn is not None and not share.turn.done() and self._fits(share, share.wanted)

    def _watch_idle(self) -> None:
        """Look for idle shares, now and for as long as somebody waits."""
        if self._timer is None:
            self._end_idle()

    def _end_idle(self) -> None:
        """End transfers whose clients have sent nothing for too long, where others gain by it."""
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        before = loop.time() - self._stalled_s
        idle = [
            one
            for one in self._shares
            if one.end and one.held and one.idle_since is not None and one.idle_since <= before
        ]
        before -= (OWN_STALLS - 1) * self._stalled_s
        writes = Counter(one.client for one in self._shares)
        idle.sort(key=lambda one: (writes[one.client] == 1, -self._use.by_client[one.client]))
        longest = [one for one in idle if one.idle_since is not None and one.idle_since <= before]
        for first in [line[0] for line in self._waiting.values()]:
            blocker = self._blocker(first, first.wanted)
            if blocker is None:
                continue
            own = blocker == DATA + PER_CLIENT  # It waits for itself.
            for one in self._in_the_way(first, longest if own else idle):
                idle.remove(one)
                if one in longest:
                    longest.remove(one)
                one.idle_since = None
                if one.end:
                    one.end(self._lost(blocker))
        self._timer = loop.call_later(self._stalled_s / 2, self._end_idle)

    def _in_the_way(self, first: Share, idle: list[Share]) -> list[Share]:
        """Return the idle shares whose ends give another one room, as few as will do.

        The first of them are ended first. There are none if even all of them are not enough.
        """
        gone: list[Share] = []
        for one in idle:
            if self._fits(first, first.wanted):
                break
            self._count(one, -one.held)
            gone.append(one)
        enough = self._fits(first, first.wanted)
        needed: list[Share] = []
        for one in reversed(gone):
            self._count(one, one.held)
            if enough and not self._fits(first, first.wanted):
                self._count(one, -one.held)
                needed.append(one)
        for one in needed:
            self._count(one, one.held)
        return needed

    def _lost(self, blocker: str) -> LimitReached:
        """Count a refusal; return why a transfer is ended."""
        self._use.count_refusal(blocker)
        return LimitReached(
            f"this write sent nothing for {self._stalled_s:g} s, and another one waited for the"
            f" room that the limit {blocker} gives: try again later, or send in smaller pieces",
            limit=blocker,
            value=self._limits.value(blocker),
        )
