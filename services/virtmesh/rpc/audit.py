"""Who did what: a line of the log for every call that changes something, or is refused.

The first call of a kind is written at once. Those that repeat it (same identity, RPC, device and
outcome) are counted, and a line each PERIOD_S says how many there were.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from virtmesh.rpc.caller import Stranger
from virtmesh.telemetry.definitions import counter
from virtmesh.telemetry.log_rate_limit import AUDIT_LOGGER
from virtmesh_common.security.roles import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from prometheus_client import Metric

    from virtmesh.rpc.caller import Caller

log = structlog.get_logger(AUDIT_LOGGER)

AUDITED = counter(
    "virtmesh_audited_calls",
    'Calls that change something, or were refused. Without an identity the role is "none".',
    "calls",
    "role",
    "grpc_code",
)
PERIOD_S = 60.0
KINDS_MAX = 16384
"""Most kinds of calls that are told apart at a time."""
BEGUN = "BEGUN"
"""Outcome of a stream that goes on: what it comes to is another line."""
UNKNOWN = "unknown"
"""A device or RPC that there is not: a log never holds names that a client makes up."""
NOBODY = "none"
STRANGERS_MAX = 32
"""Most lines each period about callers that were not let in. The others are counted together, by
outcome: whatever strangers call, they don't fill the log."""
OTHERS = frozenset(("", UNKNOWN, *(row.touches for row in ROWS)))
"""What calls touch beside devices."""


class Kind(NamedTuple):
    """What calls have in common that repeat each other."""

    identity: str
    role: str
    by: str
    serial: str
    rpc: str
    device: str
    outcome: str


class Audit:
    """The audit of one service. `devices` returns the names of the devices that it serves."""

    def __init__(
        self,
        devices: Callable[[], Collection[str]] = tuple,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._devices = devices
        self._clock = clock
        self._repeated: dict[Kind, int] = {}
        """Calls of each kind that are not in the log yet."""
        self._strangers = 0
        """Lines of this period about callers that were not let in."""
        self._written = clock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(
        self, caller: Caller | Stranger, method: str, device: str, outcome: str, reason: str = ""
    ) -> None:
        """Take down a call; `outcome` is the name of its status, or BEGUN."""
        kind = Kind(*who(caller), method, self.name_of(device), outcome)
        if outcome != BEGUN:
            self._counts[kind.role, outcome] += 1
        if isinstance(caller, Stranger) and kind not in self._repeated:
            if self._strangers >= STRANGERS_MAX:
                kind = Kind(*who(Stranger()), UNKNOWN, "", outcome)
                self._repeated[kind] = self._repeated.get(kind, 0) + 1
                return
            self._strangers += 1
        if kind in self._repeated:
            self._repeated[kind] += 1
            return
        if len(self._repeated) >= KINDS_MAX:
            self.flush()
        self._repeated[kind] = 0
        facts = {"peer": caller.peer, "reason": reason}
        write(kind, **{key: value for key, value in facts.items() if value})

    def name_of(self, device: str) -> str:
        """Return the device of a call as it is written; the only one there is needs no name."""
        known = self._devices()
        if not device:
            return next(iter(known)) if len(known) == 1 else ""
        return device if device in known or device in OTHERS else UNKNOWN

    @property
    def seconds_left(self) -> float:
        """Seconds until `tick` has something to do; negative when it is late."""
        return self._written + PERIOD_S - self._clock()

    def tick(self) -> None:
        """Write how often calls repeated others, each PERIOD_S."""
        if self._clock() - self._written >= PERIOD_S:
            self.flush()

    def flush(self) -> None:
        """Write how often calls repeated others, now; the next one of a kind is the first again."""
        self._written = self._clock()
        repeated, self._repeated = self._repeated, {}
        self._strangers = 0
        for kind, times in repeated.items():
            if times:
                write(kind, repeated=times)

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics, read now."""
        yield AUDITED.of(self._counts.items())


def who(caller: Caller | Stranger) -> tuple[str, str, str, str]:
    """Return the first fields of a Kind."""
    if isinstance(caller, Stranger):
        return caller.name or NOBODY, NOBODY, NOBODY, caller.serial
    identity = caller.identity
    return identity.name, identity.role, identity.kind, identity.serial


def write(kind: Kind, **facts: Any) -> None:
    """Write a line."""
    log.info("call", **{key: value for key, value in kind._asdict().items() if value}, **facts)
