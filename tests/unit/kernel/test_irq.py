"""The interrupt controller: who is called, and what is counted."""

from __future__ import annotations

import pytest

from virtmesh.kernel.irq import IrqController


def test_an_interrupt_reaches_its_handler() -> None:
    """The handler of the line gets the status; the other is left alone."""
    irq = IrqController()
    heard: list[tuple[str, int]] = []

    def handler(name: str, status: int) -> bool:
        heard.append((name, status))
        return True

    irq.connect(1, lambda status: handler("vda", status))
    irq.connect(2, lambda status: handler("vdb", status))
    irq.dispatch(2, 3)

    assert heard == [("vdb", 3)]
    assert [(line.irq, line.handled, line.spurious) for line in irq.lines] == [(1, 0, 0), (2, 1, 0)]


def test_interrupts_nobody_claims_are_spurious() -> None:
    """One without a handler, and one whose handler had nothing to do."""
    irq = IrqController()
    irq.dispatch(7, 1)
    irq.connect(7, lambda _: False)
    irq.dispatch(7, 1)

    assert (irq.line(7).handled, irq.line(7).spurious) == (0, 2)


def test_a_line_has_one_handler() -> None:
    """A second handler is refused until the first is gone; the counts stay."""
    irq = IrqController()
    irq.connect(1, lambda _: True)
    irq.dispatch(1, 1)

    with pytest.raises(ValueError, match="has a handler"):
        irq.connect(1, lambda _: True)
    irq.disconnect(1)
    irq.connect(1, lambda _: True)
    irq.dispatch(1, 1)

    assert irq.line(1).handled == 2
