"""What is run: a guest whose console is a serial port of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class GuestPlan:
    """What a keeper runs. `folder` is for its sockets, and must have a short path."""

    kind: str
    command: Sequence[str]
    folder: Path
    serial: str = ""
    """Serial port; empty: the machine's console."""
    disks: Sequence[str] = ()
    inputs: Sequence[str] = ()
    detached: bool = False
    timeout: float | None = None
    """After so many seconds the guest is killed."""
