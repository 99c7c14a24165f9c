"""What happens in a soak: disturbances, operations, errors, violations. All threads write to it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.soak.expectations import AFTERMATH_SECONDS, is_expected
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator

ERRORS_MAX = 2000
"""Errors that are kept one by one; all are counted."""
VIOLATIONS_MAX = 200
"""More of them say nothing new."""


@dataclass
class Disturbance:
    """Something that was done to a process. Times are in seconds since the start."""

    number: int
    """Of the event in the plan."""
    kind: str
    """`kill`, `stop`, `restart`, `reset`, or the kind of a fault."""
    device: str
    words: str
    begin: float
    end: float | None = None
    """When what was disturbed worked again; None until then."""
    outage: float | None = None
    """Seconds that a process was away; None where none was."""
    hits: int = 0
    """Events that a fault took, as far as the device could still say."""

    def covers(self, begin: float, end: float) -> bool:
        """Return whether it was felt in a stretch of time."""
        over = self.end is not None and begin > self.end + AFTERMATH_SECONDS
        return self.begin <= end and not over


@dataclass(frozen=True)
class Failure:
    """An error that an actor met."""

    actor: str
    role: str
    device: str
    operation: str
    begin: float
    end: float
    reason: str
    cause: str
    message: str
    expected: bool


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    at: float
    who: str
    what: str
    event: int
    """The last event of the plan before it; 0 for none."""


@dataclass
class Journal:
    """The books of a soak. Its methods may be called from any thread."""

    started: float = field(default_factory=time.monotonic)
    disturbances: list[Disturbance] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    operations: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Operations that succeeded, by role and operation."""
    failed: Counter[tuple[str, str, str, bool]] = field(default_factory=Counter)
    """Errors by role, operation, reason, and whether they were expected."""
    moved: Counter[str] = field(default_factory=Counter)
    """Bytes by role."""
    slowest: dict[tuple[str, str], float] = field(default_factory=dict)
    """Seconds of the slowest operation, by role and operation."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def now(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def disturb(self, number: int, kind: str, device: str, words: str = "") -> Disturbance:
        """Note a disturbance, before it is done."""
        with self._lock:
            one = Disturbance(number, kind, device, words, self.now())
            self.disturbances.append(one)
            return one

    def over(self, one: Disturbance, outage: float | None = None) -> None:
        """Note that what was disturbed works again."""
        with self._lock:
            one.end = self.now()
            one.outage = outage

    def felt(self, device: str, begin: float, end: float) -> Iterator[Disturbance]:
        """Yield what a device, or the kernel service below it, suffered in a stretch of time."""
        with self._lock:
            every = [one for one in self.disturbances if one.covers(begin, end)]
        yield from (one for one in every if one.device in {device, "kernel"} or device == "*")

    def did(self, role: str, operation: str, begin: float, moved: int = 0) -> None:
        """Note an operation that succeeded."""
        with self._lock:
            key = role, operation
            self.operations[key] += 1
            self.moved[role] += moved
            self.slowest[key] = max(self.slowest.get(key, 0.0), self.now() - begin)

    def met(
        self, who: tuple[str, str, str], operation: str, begin: float, error: Exception
    ) -> bool:
        """Note an error of (actor, role, device); return whether the table expects it.

        One that it does not expect is a violation.
        """
        actor, role, device = who
        end = self.now()
        reason = error.reason if isinstance(error, VirtmeshError) else type(error).__name__
        cause = error.metadata.get("cause", "") if isinstance(error, VirtmeshError) else ""
        causes = {(one.kind, one.device == "kernel") for one in self.felt(device, begin, end)}
        expected = is_expected(role, reason, cause, causes)
        with self._lock:
            self.failed[role, operation, reason, expected] += 1
            if len(self.failures) < ERRORS_MAX or not expected:
                self.failures.append(
                    Failure(
                        actor,
                        role,
                        device,
                        operation,
                        begin,
                        end,
                        reason,
                        cause,
                        str(error),
                        expected,
                    )
                )
        if not expected:
            kinds = ", ".join(sorted(kind for kind, _ in causes)) or "nothing"
            self.violate(
                actor,
                f"{operation} of {device} failed with {reason} after {end - begin:.2f} s, while"
                f" {kinds} was done to it: {error}",
            )
        return expected

    def violate(self, who: str, what: str) -> None:
        """Note a violation."""
        with self._lock:
            at = self.now()
            before = [one.number for one in self.disturbances if one.begin <= at]
            if len(self.violations) < VIOLATIONS_MAX:
                self.violations.append(Violation(at, who, what, max(before, default=0)))

    def unexpected(self) -> int:
        """Return the number of errors that nothing explains."""
        with self._lock:
            return sum(count for (*_, expected), count in self.failed.items() if not expected)
