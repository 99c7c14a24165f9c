"""Keeps a session on the console for as long as the kernel runs, whatever becomes of either."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import structlog

from virtmesh.kernel.monitor.session import Session
from virtmesh.kernel.monitor.tty import Tty
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh.drivers.base import Driver
    from virtmesh.kernel.device import MachineDevice
    from virtmesh.kernel.kernel import Kernel

log = structlog.get_logger(__name__)

PAUSE_S = 1.0
"""Pause after a fault, before the next session."""
BREAK_NOTES_S = 1.0
"""Least time between two notes of breaks in the boot log."""


class Monitor:
    """The monitor of a kernel, on one of its devices. `run` ends when it is cancelled."""

    def __init__(self, kernel: Kernel, console: MachineDevice) -> None:
        self._kernel = kernel
        self._console = console
        self._boot_log = kernel.boot_log.reader()
        self._breaks = 0
        self._noted_at = -BREAK_NOTES_S

    async def run(self) -> NoReturn:
        """Serve one session after the other: a new one when the device has come back."""
        last: Driver | None = None
        while True:
            last = await self._console.next_driver(last)
            if not isinstance(last, Tty):
                log.warning("no console", device=last.name, driver=type(last).__name__)
                continue
            last.on_break = self._note_break
            try:
                await Session(self._kernel, last, self._boot_log).run()
            except VirtmeshError as error:
                log.info("the console is gone", device=last.name, error=error.message)
            except Exception:
                log.exception("a fault of the monitor")
                self._kernel.boot_log.add("monitor: a fault; the log of the kernel says more")
            if not last.failed.done():
                await asyncio.sleep(PAUSE_S)
                last = None

    def _note_break(self) -> None:
        """Note a break. It does nothing else; many in a row are noted together."""
        self._breaks += 1
        now = self._kernel.boot_log.uptime
        if now - self._noted_at >= BREAK_NOTES_S:
            self._noted_at = now
            self._kernel.boot_log.add(f"{self._console.node.name}: break, {self._breaks} so far")
