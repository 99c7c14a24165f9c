"""How often something may be done: a rate, and a burst after a quiet time."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Allowance:
    """Allows something `per_second` times in a second, and `burst` times at once."""

    def __init__(
        self, burst: float, per_second: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = burst
        self._seen = clock()

    def take(self) -> bool:
        """Say whether it is allowed now, and count it if it is."""
        if self.wait_seconds() > 0:
            return False
        self._left -= 1
        return True

    def wait_seconds(self) -> float:
        """Return how long it is until it is allowed; 0: now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._seen) * self._per_second)
        self._seen = now
        return max(0.0, (1 - self._left) / self._per_second)
