"""How the CPU is, for people and programs, and who wants to know when that changes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from virtmesh_common.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class CpuState(Enum):
    """What the CPU does (virtmesh.cpu.v1.CpuState)."""

    WAITING = 1
    RUNNING = 2
    STALLED = 3
    STOPPED = 4
    OFF = 5


class StopReason(Enum):
    """Why the CPU does not run (virtmesh.cpu.v1.StopReason)."""

    UNSPECIFIED = 0
    ASKED = 1
    STEPPED = 2
    BREAKPOINT = 3
    WATCHPOINT = 4
    POWEROFF = 5
    FAIL = 6


@dataclass(frozen=True)
class CpuStatus:
    """The state of the CPU (virtmesh.cpu.v1.Status)."""

    state: CpuState = CpuState.WAITING
    reason: StopReason = StopReason.UNSPECIFIED
    pc: int = 0
    code: int = 0
    address: int = 0
    missing: Sequence[str] = ()
    boots: int = 0
    sequence: int = 0


class StatusBoard:
    """The present status, and those who watch it. It is of the event loop's thread."""

    def __init__(self) -> None:
        self.now = CpuStatus()
        self._changed = asyncio.Event()
        self._closed = False

    def set(
        self, state: CpuState, reason: StopReason = StopReason.UNSPECIFIED, **facts: Any
    ) -> None:
        """Change the state.

        Of the other fields, `pc` and `boots` keep their values unless they are given.
        """
        before = self.now
        now = CpuStatus(
            state,
            reason,
            **{"pc": before.pc, "boots": before.boots, **facts},
            sequence=before.sequence,
        )
        if now != before:
            self.now = replace(now, sequence=before.sequence + 1)
            self._wake()

    async def changes(self) -> AsyncIterator[CpuStatus]:
        """Yield the status now, and after each change. Errors: ShuttingDown, at the end."""
        seen = -1
        while not self._closed:
            event = self._changed
            if self.now.sequence != seen:
                seen = self.now.sequence
                yield self.now
            else:
                await event.wait()
        raise ShuttingDown("the CPU service is stopping")

    async def until(self, *states: CpuState) -> CpuStatus:
        """Wait until the state is one of these. Errors: ShuttingDown."""
        async for status in self.changes():
            if status.state in states:
                return status
        return self.now

    def close(self) -> None:
        """End every watch."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        """Wake everyone who waits."""
        self._changed.set()
        self._changed = asyncio.Event()
