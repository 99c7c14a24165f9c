"""Who did what by the panel: a line for each request that changes something, or was refused.

For the machine all of it is done by who started the panel. The first request of a kind is written
at once; those that repeat it are counted, and told of before the first line of a later period.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from virtmesh_client.panel.needs import resource_of
from virtmesh_common.names import NAME_PATTERN
from virtmesh_common.security.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    Tell = Callable[[str], None]

AUDIT = "virtmesh.audit"
"""Name of the logger, as of the audits of services."""
PERIOD_SECONDS = 60.0
LINES_MAX = 256
"""Most lines each period about who has a token; the others are counted together."""
STRANGERS_MAX = 32
"""Most lines each period about who has none that counts."""
SOCKETS = frozenset(("/serial/{name}", "/vnc/{name}"))
"""Paths of sockets by which people use a machine."""
NOBODY = "none"
BEGUN, ENDED = "BEGUN", "ENDED"
"""Outcomes of a socket; all others are the status of HTTP."""


class Stranger(NamedTuple):
    """Who has no token that counts: name and number of the token if it counted once."""

    name: str = NOBODY
    serial: str = ""


class Kind(NamedTuple):
    """What requests have in common that repeat each other."""

    identity: str
    role: str
    serial: str
    request: str
    device: str
    outcome: str


class Audit:
    """The audit of one panel. `tell` takes lines, JSON each."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._begun = clock()
        self._repeated: dict[Kind, int] = {}
        self._lines = Counter[bool]()
        """Lines of this period: False, about who has a token, and True, about strangers."""

    def note(
        self, who: Identity | Stranger, request: web.Request, outcome: str, reason: str = ""
    ) -> None:
        """Take down a request."""
        if self._clock() - self._begun >= PERIOD_SECONDS:
            self.flush()
        role = who.role.value if isinstance(who, Identity) else NOBODY
        kind = Kind(who.name, role, who.serial, *spell(request), outcome)
        is_stranger = role == NOBODY
        if kind not in self._repeated:
            if self._lines[is_stranger] < (STRANGERS_MAX if is_stranger else LINES_MAX):
                self._lines[is_stranger] += 1
                self._repeated[kind] = 0
                self._write(kind, peer=request.remote or "", reason=reason)
                return
            kind = Kind(NOBODY if is_stranger else "others", NOBODY, "", "", "", outcome)
        self._repeated[kind] = self._repeated.get(kind, 0) + 1

    def flush(self) -> None:
        """Write how often requests repeated others."""
        self._begun = self._clock()
        repeated, self._repeated = self._repeated, {}
        self._lines.clear()
        for kind, times in repeated.items():
            if times:
                self._write(kind, repeated=times)

    def _write(self, kind: Kind, **facts: object) -> None:
        """Write a line."""
        content = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "logger": AUDIT,
            "event": "call",
            **kind._asdict(),
            **facts,
        }
        self._tell(json.dumps({key: value for key, value in content.items() if value}))


def spell(request: web.Request) -> tuple[str, str]:
    """Return method and path as the panel names them, and the device: no text of a stranger."""
    path = resource_of(request)
    if path is None:
        return "unknown", ""
    name = request.match_info.get("name", "")
    return f"{request.method} {path}", name if re.fullmatch(NAME_PATTERN, name) else ""


def changes(request: web.Request, path: str | None) -> bool:
    """Say whether a request is in the audit also when it is not refused."""
    return request.method not in {"GET", "HEAD"} or path in SOCKETS
