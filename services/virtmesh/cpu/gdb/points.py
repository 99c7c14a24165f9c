"""Breakpoints and watchpoints of one debugger, and how a stop at one is told.

They are compared with the virtual addresses that the hart executes and touches. Nothing is written
to RAM: a point may be where nothing is mapped yet, and stays when an image is loaded over it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtmesh.cpu.status import CpuState, CpuStatus, StopReason

if TYPE_CHECKING:
    from virtmesh.cpu.machine import CpuMachine

OWNER = "gdb"
"""Whose breakpoints they are."""
POINTS_MAX = 256
"""Most breakpoints, and most watchpoints."""
SIGINT, SIGTRAP = 2, 5
BREAK_NAMES = {0: b"swbreak", 1: b"hwbreak"}
"""Types of breakpoints in the packets Z and z. To the hart they are the same."""
WATCH_KINDS = {2: "w", 3: "r", 4: "rw"}
"""Watchpoints by type."""
WATCH_NAMES = {2: b"watch", 3: b"rwatch", 4: b"awatch"}
POINT = re.compile(rb"([Zz])([0-4]),([0-9a-f]{1,16}),([0-9a-f]{1,16})")


class Points:
    """The points of a debugger: (type, address, bytes)."""

    def __init__(self, machine: CpuMachine) -> None:
        self._machine = machine
        self._points: set[tuple[int, int, int]] = set()

    async def change(self, packet: bytes) -> None:
        """Set or clear one, by a packet Z or z. Errors: ValueError; NoAnswer."""
        found = POINT.match(packet)
        if found is None:
            raise ValueError("no packet for a point")
        kind = int(found.group(2))
        address, size = int(found.group(3), 16), int(found.group(4), 16)
        point = (kind, address, max(1, size) if kind in WATCH_KINDS else 0)
        if found.group(1) == b"z":
            self._points.discard(point)
        elif point not in self._points and len(self._points) >= POINTS_MAX:
            raise ValueError(f"more than {POINTS_MAX} points")
        else:
            self._points.add(point)
        await self._install()

    async def clear(self) -> None:
        """Take all of them away. Errors: NoAnswer."""
        self._points.clear()
        await self._install()

    async def _install(self) -> None:
        breaks = {address for kind, address, _ in self._points if kind in BREAK_NAMES}
        watches = {
            (address, size, WATCH_KINDS[kind])
            for kind, address, size in self._points
            if kind in WATCH_KINDS
        }
        await self._machine.set_points(OWNER, sorted(breaks), sorted(watches))

    def spell_stop(self, status: CpuStatus) -> bytes:
        """Say why the CPU is stopped (stop reply packets). A point of somebody else is a trap."""
        if status.state is CpuState.OFF:
            return b"W%02x" % min(status.code, 0xFF)
        if status.reason is StopReason.WATCHPOINT:
            for kind, address, size in sorted(self._points):
                if kind in WATCH_NAMES and address <= status.address < address + size:
                    return b"T%02x%s:%x;" % (SIGTRAP, WATCH_NAMES[kind], status.address)
        if status.reason is StopReason.BREAKPOINT:
            for kind, address, _ in sorted(self._points):
                if kind in BREAK_NAMES and address == status.pc:
                    return b"T%02x%s:;" % (SIGTRAP, BREAK_NAMES[kind])
        return b"T%02x" % (SIGINT if status.reason is StopReason.ASKED else SIGTRAP)
