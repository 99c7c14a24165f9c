"""Quirks: what a device does for drivers that break a rule, or that demand more than the rules say.

A device knows a table of quirks; it has those that its machine file or command line names. Each
use is counted, recorded in the trace, and logged once for each quirk: a driver that needs one is at
fault all the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import structlog

from virtmesh_common.api.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from virtmesh_native import Interrupt

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Quirk:
    """One quirk. `rule` is the rule that the driver breaks, with its clause."""

    name: str
    rule: str
    drivers: str
    """Drivers that need it."""
    breaks: str = ""
    """Name of that rule in the report (virtmesh.report.rules)."""
    judged: bool = False
    """The report judges the rule by the dialogue, whether the quirk is used or not."""


class Quirks:
    """The quirks of one device. `interrupt` has the flight recorder."""

    def __init__(self, enabled: Collection[Quirk], interrupt: Interrupt) -> None:
        self._enabled = frozenset(enabled)
        self._interrupt = interrupt
        self.uses: Counter[str] = Counter()
        """How often each was used, by name."""

    def __contains__(self, quirk: Quirk) -> bool:
        return quirk in self._enabled

    def allow(self, quirk: Quirk, what: str) -> bool:
        """Return True if the device has a quirk. `what` is what the driver did, for the trace."""
        if quirk not in self._enabled:
            return False
        if not self.uses[quirk.name]:
            log.warning(
                "the driver needs a quirk of the device; said once for each quirk",
                quirk=quirk.name,
                rule=quirk.rule,
                what=what,
            )
        self.uses[quirk.name] += 1
        said = f"{quirk.name}: {what} ({quirk.rule})"
        self._interrupt.recorder.record(trace_pb2.EVENT_KIND_QUIRK, text=said)
        if not quirk.judged:
            rule = quirk.breaks or f"quirk-{quirk.name}"
            self._interrupt.violated(rule, said, accessed=True)
        return True


def find_quirks(names: Collection[str], known: Sequence[Quirk]) -> tuple[Quirk, ...]:
    """Return quirks by their names. Errors: ValueError, with the quirks that are known."""
    by_name = {quirk.name: quirk for quirk in known}
    for name in names:
        if name not in by_name:
            near = get_close_matches(name, by_name, n=1)
            mend = f"did you mean {near[0]}?" if near else f"it knows {', '.join(by_name)}"
            raise ValueError(
                f"{name!r} is no quirk of the device: {mend if known else 'it knows none'}"
            )
    return tuple(by_name[name] for name in dict.fromkeys(names))
