"""When a process that died is started again."""

from __future__ import annotations

from dataclasses import dataclass

QUICK_SECONDS = 5.0
"""A process that dies sooner after its start was of no use. A later death never counts."""
QUICK_MAX = 5
"""After so many quick deaths in a row it is held, until somebody wants it back."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0


@dataclass
class Restarts:
    """What is known of the deaths of one process."""

    quick: int = 0
    """Quick deaths in a row."""

    def forget(self) -> None:
        """Begin anew: somebody wants it back."""
        self.quick = 0

    def delay(self, lasted: float) -> float | None:
        """Return the seconds until the next start, after it ran for so many; None: it is held.

        A process that had served is started at once.
        """
        if lasted >= QUICK_SECONDS:
            self.quick = 0
            return 0.0
        self.quick += 1
        if self.quick > QUICK_MAX:
            return None
        doubled = FIRST_DELAY_SECONDS * float(2 ** (self.quick - 1))
        return min(doubled, LONGEST_DELAY_SECONDS)
