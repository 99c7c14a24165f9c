"""Budgets: what clients hold of a service, together and each, and the refusal of more.

Who a client is comes with its call (virtmesh.rpc.client_key). On a unix socket gRPC tells two
connections not apart, and clients may lie about the names that they give themselves; so every
budget has a bound over all clients, keeps an eighth of it for clients that hold nothing of it, and
a quarter for those that come another way: who fills it by a unix socket does not shut those out who
come with certificates.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from virtmesh.rpc.client_key import SOCKETS, way_of
from virtmesh.rpc.reception import Reception
from virtmesh.rpc.turns import Turns
from virtmesh.telemetry.definitions import counter, gauge
from virtmesh_common.errors import LimitReached
from virtmesh_common.limits import LIMITS, PER_CLIENT, Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from prometheus_client import Metric

VALUE = gauge("virtmesh_limit", "Value of a limit, in the limit's unit.", "as named", "limit")
USED = gauge(
    "virtmesh_limit_used",
    "What clients hold; of a limit per client, what the client holds that has most.",
    "as named",
    "limit",
)
REFUSED = counter("virtmesh_limit_refused", "Requests that a limit refused.", "requests", "limit")
REFUSAL_S = 0.1
"""How long a call waits for its refusal: who asks again at once would cost as much as a client."""
REFUSAL_MAX_S = 5.0
"""How long it waits at most, in a crowd."""
REFUSALS_PER_S = 200
"""So many leave in a second: each costs what a short call costs."""
SLOWED_MAX = 2048
"""Most calls that wait so; others are refused at once."""
RESERVE = 8
"""This part of a budget is for clients that hold nothing of it."""
OF_ONE_WAY = 3, 4
"""This part of a budget is the most for clients that came the same way, such as by unix sockets."""
SMALL = 16
"""A budget below this is whoever's comes: parts of it would be one or two."""
OF_NEWCOMERS = 3, 8
"""Above this part of a budget, who has not called before gets none of it by a unix socket: who lies
there about its name is new with each call."""


@dataclass
class Use:
    """What is held of one limit, and how often it refused."""

    name: str
    limit: int
    per_client: int | None = None
    """What one client may hold; None: as much as all."""
    held: int = 0
    by_client: Counter[str] = field(default_factory=Counter)
    by_way: Counter[str] = field(default_factory=Counter)
    """What is held by how its clients come: what their keys begin with."""
    refused: int = 0
    refused_per_client: int = 0
    turns: Turns = field(default_factory=Turns)
    """Knows the clients that have called before."""

    @property
    def reserve(self) -> int:
        """What only clients that hold nothing may take."""
        return self.limit // RESERVE if self.per_client is not None else 0

    def blocker(self, client: str, amount: int) -> str | None:
        """Return the name of the limit that refuses a client so much more, or None."""
        mine = self.by_client.get(client, 0)
        if self.per_client is not None and mine + amount > self.per_client:
            return self.name + PER_CLIENT
        if self.per_client is None:
            return self.name if self.held + amount > self.limit else None
        if self.held + amount > self.limit - (self.reserve if mine else 0):
            return self.name
        way = way_of(client)
        may_lie = way.endswith(SOCKETS) and self.limit >= SMALL
        is_new = may_lie and not self.turns.knows(client)
        part, of = OF_NEWCOMERS if is_new else OF_ONE_WAY
        of_way = self.by_way[way] + amount
        return self.name if of_way > max(1, self.limit * part // of) else None

    def take(self, client: str, amount: int) -> None:
        """Note that a client holds more, whether it fits or not."""
        self.held += amount
        self.by_client[client] += amount
        self.by_way[way_of(client)] += amount

    def give(self, client: str, amount: int) -> None:
        """Note that a client holds less."""
        self.held -= amount
        self.by_client[client] -= amount
        self.by_way[way_of(client)] -= amount
        if not self.by_client[client]:
            del self.by_client[client]

    def count_refusal(self, blocker: str) -> None:
        """Count that a limit of these refused."""
        if blocker == self.name + PER_CLIENT:
            self.refused_per_client += 1
        else:
            self.refused += 1

    def refusal(self, blocker: str) -> LimitReached:
        """Count a refusal, and return what the client is told."""
        self.count_refusal(blocker)
        if blocker == self.name:
            return LimitReached(
                f"all clients together have as many {self.name} as the limit {self.name} allows"
                f" ({self.limit}): try again later",
                limit=self.name,
                value=self.limit,
            )
        return LimitReached(
            f"this client has as many {self.name} as the limit {blocker} allows"
            f" ({self.per_client}): end some first, or have the limit raised",
            limit=blocker,
            value=self.per_client,
        )


class Budgets:
    """The budgets of one service, by the names of its limits. For its event loop only."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.calls = Turns()
        """Turns to begin calls."""
        self.pieces = Turns(before=self.calls)
        """Turns for the pieces of long work."""
        self._slowed = 0
        values = {one.name: self.limits.value(one.name) for one in LIMITS}
        self._uses = {
            one.name: Use(
                one.name, values[one.name], values.get(one.name + PER_CLIENT), turns=self.calls
            )
            for one in LIMITS
            if one.counted and not one.whole
        }
        self.reception = Reception(
            self.use("unread-requests"), self.limits.stalled_ms / 1000, self.limits.request_seconds
        )
        """Places for requests that come."""

    def use(self, name: str) -> Use:
        """Return what is held of a limit. Errors: KeyError."""
        return self._uses[name]

    async def slow_down(self) -> None:
        """Wait before a refusal, the longer the more wait."""
        if self._slowed < SLOWED_MAX:
            self._slowed += 1
            try:
                await asyncio.sleep(min(REFUSAL_MAX_S, REFUSAL_S + self._slowed / REFUSALS_PER_S))
            finally:
                self._slowed -= 1

    def hold(self, name: str, client: str = "", amount: int = 1) -> Hold:
        """Take so much of a limit for a client, until the end of the context.

        Errors: LimitReached.
        """
        use = self._uses[name]
        blocker = use.blocker(client, amount)
        if blocker is not None:
            raise use.refusal(blocker)
        use.take(client, amount)
        return Hold(use, client, amount)

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics, read now."""
        yield VALUE.of(((one.name,), self.limits.value(one.name)) for one in LIMITS)
        uses = sorted(self._uses.values(), key=lambda use: use.name)
        pairs = [use for use in uses if use.per_client is not None]
        yield USED.of(
            [
                *(((use.name,), use.held) for use in uses),
                *(
                    ((use.name + PER_CLIENT,), max(use.by_client.values(), default=0))
                    for use in pairs
                ),
            ]
        )
        yield REFUSED.of(
            [
                *(((use.name,), use.refused) for use in uses),
                *(((use.name + PER_CLIENT,), use.refused_per_client) for use in pairs),
            ]
        )


class Hold:
    """What a client holds of a limit, until the context ends or `give` is called."""

    __slots__ = ("_amount", "_client", "_use")

    def __init__(self, use: Use, client: str, amount: int) -> None:
        self._use = use
        self._client = client
        self._amount = amount

    def give(self) -> None:
        """Give all of it back. Later calls do nothing."""
        if self._amount:
            self._use.give(self._client, self._amount)
            self._amount = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give()


@dataclass(frozen=True, slots=True)
class Account:
    """The budgets that a call counts on, and the client whose call it is."""

    budgets: Budgets
    client: str = ""

    async def turn(self) -> None:
        """Wait for a turn to do a piece of long work."""
        await self.budgets.pieces.take(self.client)

    def hold(self, name: str, amount: int = 1) -> Hold:
        """Take so much of a limit for the client of this call. Errors: LimitReached."""
        return self.budgets.hold(name, self.client, amount)

    async def receive(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask for a message that should come at once. Errors: LimitReached; those of `ask`."""
        return await self.budgets.reception.receive(self.client, ask)

    async def hold_call(self, name: str) -> Hold:
        """Take one of a limit for this call, whose refusal comes slowly. Errors: LimitReached."""
        if self.budgets.use(name).blocker(self.client, 1):
            await self.budgets.slow_down()
        return self.hold(name)


_ACCOUNT: ContextVar[Account | None] = ContextVar("virtmesh_account", default=None)


def set_account(account: Account) -> None:
    """Say whose call this is, for what the call's task does."""
    _ACCOUNT.set(account)


def account() -> Account:
    """Return whose call this is; outside of calls, a client with budgets of its own."""
    found = _ACCOUNT.get()
    if found is None:
        found = Account(Budgets())
        _ACCOUNT.set(found)
    return found
