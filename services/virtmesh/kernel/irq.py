"""The interrupt controller: lines, and who handles them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[int], bool]


@dataclass
class Line:
    """One interrupt line. A handler returns False when the interrupt was not its device's."""

    irq: int
    handler: Handler | None = None
    handled: int = 0
    spurious: int = 0


class IrqController:
    """Dispatches interrupts to the `handle_irq` of drivers, and counts them."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    @property
    def lines(self) -> list[Line]:
        """The lines that were ever connected or raised, ascending by number."""
        return [self._lines[irq] for irq in sorted(self._lines)]

    def line(self, irq: int) -> Line:
        """Return the line of a number."""
        return self._lines.setdefault(irq, Line(irq))

    def connect(self, irq: int, handler: Handler) -> None:
        """Have a line handled. Errors: ValueError when it is already."""
        line = self.line(irq)
        if line.handler is not None:
            raise ValueError(f"interrupt {irq} has a handler: lines are not shared")
        line.handler = handler

    def disconnect(self, irq: int) -> None:
        """Have a line handled no more."""
        self.line(irq).handler = None

    def dispatch(self, irq: int, status: int) -> None:
        """Handle an interrupt; `status` is the bits of InterruptStatus, as the bus knows them."""
        line = self.line(irq)
        if line.handler is not None and line.handler(status):
            line.handled += 1
        else:
            line.spurious += 1
