"""Who did what: a line of the log for every call that changes something, or is refused.

The first call of a kind is written at once. Those that repeat it (same identity, RPC, device and
outcome) are counted, and a line each PERIOD_S says how many there were.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

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
"""A device that there is not: a log never holds names that a client makes up."""
NOBODY = "none"
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
        self._written = clock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(
        self, caller: Caller | None, method: str, device: str, outcome: str, reason: str = ""
    ) -> None:
        """Take down a call; `outcome` is the name of its status, or BEGUN."""
        role = caller.identity.role if caller else NOBODY
        if outcome != BEGUN:
            self._counts[role, outcome] += 1
        name = self.name_of(device)
        who = (
            (caller.identity.name, role, caller.identity.kind, caller.identity.serial)
            if caller
            else (NOBODY, NOBODY, NOBODY, "")
        )
        kind = Kind(*who, method, name, outcome)
        if kind in self._repeated:
            self._repeated[kind] += 1
            return
        if len(self._repeated) >= KINDS_MAX:
            self.flush()
        self._repeated[kind] = 0
        facts: dict[str, Any] = {"peer": caller.peer} if caller else {}
        if reason:
            facts["reason"] = reason
        write(kind, **facts)

    def name_of(self, device: str) -> str:
        """Return the device of a call as it is written; the only one there is needs no name."""
        known = self._devices()
        if not device:
            return next(iter(known)) if len(known) == 1 else ""
        return device if device in known or device in OTHERS else UNKNOWN

    def tick(self) -> None:
        """Write how often calls repeated others, each PERIOD_S."""
        if self._clock() - self._written >= PERIOD_S:
            self.flush()

    def flush(self) -> None:
        """Write how often calls repeated others, now; the next one of a kind is the first again."""
        self._written = self._clock()
        repeated, self._repeated = self._repeated, {}
        for kind, times in repeated.items():
            if times:
                write(kind, repeated=times)

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics, read now."""
        yield AUDITED.of(self._counts.items())


def write(kind: Kind, **facts: Any) -> None:
    """Write a line."""
    log.info("call", **{key: value for key, value in kind._asdict().items() if value}, **facts)
