"""What a driver makes of the interrupt line as it is told (virtmesh.interrupt.v1)."""

from __future__ import annotations


class LineObserver:
    """Tells interrupts from the other changes of a line: falls, and causes that were cleared."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._causes = 0

    def shows_interrupt(self, sequence: int, causes: int) -> bool:
        """Return True if there was an interrupt since the last state, or a cause was added.

        An acknowledgement can also clear the bits of the next interrupt: its sequence number still
        shows that it was raised.
        """
        raised = self._sequence is not None and sequence != self._sequence
        added = causes & ~self._causes
        self._sequence, self._causes = sequence, causes
        return raised or bool(added)
