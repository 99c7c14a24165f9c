"""How a process ended, in words."""

from __future__ import annotations

import contextlib
import signal


def spell_exit(status: int) -> str:
    """Say how a process ended: its exit status, or for a negative one the signal."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"
