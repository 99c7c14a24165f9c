"""What browsers may have of a panel, all together."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from virtmesh_common.limits import Limit, parse_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECTIONS = Limit("connections", 256, "connections", "of browsers", 1, 1 << 16, counted=True)
SOCKETS = Limit("sockets", 64, "WebSockets", "that are open", 1, 1 << 16, counted=True)
LIMITS = (CONNECTIONS, SOCKETS)


@dataclass(frozen=True)
class PanelLimits:
    """The limits of one panel."""

    connections: int = CONNECTIONS.default
    sockets: int = SOCKETS.default

    @classmethod
    def of(cls, pairs: Iterable[str]) -> PanelLimits:
        """Return limits with the values of NAME=VALUE pairs.

        Errors: ValueError, naming the limit and the mend.
        """
        known = {one.name: one for one in LIMITS}
        values: dict[str, int] = {}
        for name, value in parse_pairs(pairs).items():
            if name not in known:
                near = get_close_matches(name, known, n=1) or list(known)
                raise ValueError(f"limit {name}: a panel has no such limit: try {near[0]}")
            try:
                values[name] = known[name].parse(value)
            except ValueError as error:
                raise ValueError(f"limit {name}: {error}") from error
        return cls(**values)
