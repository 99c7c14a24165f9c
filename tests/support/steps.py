"""How many lines of Python something runs: a measure of its cost that no load changes."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def count_steps(action: Callable[[], object]) -> int:
    """Run an action, and return how many lines of it ran.

    The garbage collector waits meanwhile: it may run lines of anybody.
    """
    steps = 0

    def trace(_frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal steps
        steps += event == "line"
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return steps
