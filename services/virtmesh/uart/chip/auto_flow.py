"""Automatic RTS, as the successors of the chip have it (TL16C550C, auto-RTS).

RTS drops when the receive FIFO reaches its trigger level and comes back when it is empty; with a
trigger level of 14 it drops when the FIFO is full and comes back when there is room.
"""

from __future__ import annotations

from virtmesh_common.uart.spec import FIFO_SIZE, TRIGGERS


class AutoRts:
    """What RTS is while the chip handles it."""

    def __init__(self) -> None:
        self.asserted = True

    def look(self, level: int, trigger: int) -> None:
        """Learn how many characters the FIFO holds."""
        if level >= ceiling(trigger):
            self.asserted = False
        elif level <= (FIFO_SIZE - 1 if trigger == TRIGGERS[-1] else 0):
            self.asserted = True


def ceiling(trigger: int) -> int:
    """Return the characters at which RTS drops."""
    return FIFO_SIZE if trigger == TRIGGERS[-1] else trigger
