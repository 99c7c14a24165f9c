"""The monitor as the user of a serial port: a session for each life of the port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.kernel.monitor.session import Session

if TYPE_CHECKING:
    from virtmesh.kernel.kernel import Kernel
    from virtmesh.kernel.tty import Tty

BREAK_NOTES_S = 1.0
"""Least time between two notes of breaks in the boot log."""


class Monitor:
    """The monitor of a kernel, for whoever is at one of its serial ports."""

    name = "monitor"

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._boot_log = kernel.boot_log.reader()
        self._breaks = 0
        self._noted_at = -BREAK_NOTES_S
        self._port = ""

    async def serve(self, tty: Tty) -> None:
        """Serve one session. Errors: VirtmeshError when the port is lost."""
        self._port = tty.name
        await Session(self._kernel, tty, self._boot_log).run()

    def note_break(self) -> None:
        """Note a break. It does nothing else; many in a row are noted together."""
        self._breaks += 1
        now = self._kernel.boot_log.uptime
        if now - self._noted_at >= BREAK_NOTES_S:
            self._noted_at = now
            self._kernel.boot_log.add(f"{self._port}: break, {self._breaks} so far")
