"""Who has a serial port of the machine: the monitor, or the console of a guest.

The resident, if there is one, has the port until it is lent to a visitor, and again when the
visitor has left. It is one user at a time: the next one begins when the one before has stopped. A
user that stops loses nothing of what it had not taken from the port.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn, Protocol

import structlog

from virtmesh.kernel.lasting_tty import LastingTty
from virtmesh.kernel.tty import Tty
from virtmesh.uart.driver.driver import NS16550a
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh.drivers.base import Driver
    from virtmesh.kernel.boot_log import BootLog
    from virtmesh.kernel.device import MachineDevice

log = structlog.get_logger(__name__)

PAUSE_S = 1.0
"""Pause after a fault of a user, before it has the port again."""


class PortUser(Protocol):
    """Who can have a serial port."""

    name: str
    """What it is called in the boot log."""

    async def serve(self, tty: Tty) -> None:
        """Use the port until cancelled. Errors: VirtmeshError when the port is lost."""

    def note_break(self) -> None:
        """Take note of a break on the line."""


class PortSwitch:
    """One serial port, and its users. `run` ends when it is cancelled."""

    def __init__(
        self, device: MachineDevice, boot_log: BootLog, resident: PortUser | None = None
    ) -> None:
        self._device = device
        self._boot_log = boot_log
        self._resident = resident
        self._visitor: PortUser | None = None
        self._visited = False
        """True while the resident has not begun anew behind a visitor."""
        self._changed = asyncio.Event()

    @property
    def has_resident(self) -> bool:
        """Whether somebody has the port when no visitor does."""
        return self._resident is not None

    def lend(self, visitor: PortUser) -> None:
        """Give the port to a visitor. The port must not be lent already."""
        self._visitor = visitor
        self._changed.set()

    def take_back(self) -> None:
        """Give the port back to the resident."""
        self._visitor = None
        self._visited = True
        self._changed.set()

    async def run(self) -> NoReturn:
        """Serve the port in each of its lives: its driver is another one when it has come back."""
        last: Driver | None = None
        while True:
            last = await self._device.next_driver(last)
            if isinstance(last, NS16550a):
                last = await self._follow(LastingTty(self._device, last))
            elif isinstance(last, Tty):
                await self._serve(last, last.failed)
            else:
                log.warning("no serial port", device=last.name, driver=type(last).__name__)

    async def _follow(self, tty: LastingTty) -> Driver:
        """Serve a port until it is lost for good; return its last driver."""
        following = asyncio.create_task(tty.run(), name="lives of a serial port")
        try:
            await self._serve(tty, tty.lost)
        finally:
            following.cancel()
        return tty.driver

    async def _serve(self, tty: Tty, lost: asyncio.Future[VirtmeshError]) -> None:
        """Let one user after the other have the port, until it is lost."""
        while not lost.done():
            user = self._visitor or self._resident
            self._changed.clear()
            tty.on_break = user.note_break if user else lambda: None
            steps = (
                asyncio.create_task(self._use(user, tty, lost), name="user of a serial port"),
                asyncio.create_task(self._changed.wait(), name="next user of a serial port"),
            )
            try:
                await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for step in steps:
                    step.cancel()
                await asyncio.gather(*steps, return_exceptions=True)

    async def _use(
        self, user: PortUser | None, tty: Tty, lost: asyncio.Future[VirtmeshError]
    ) -> None:
        """Let one user have the port. It has a pause after a fault."""
        try:
            if user is None:
                await asyncio.shield(lost)  # cancelling this does not cancel the driver's future
                return
            if user is self._resident and self._visited:
                self._visited = False
                await tty.write(b"\r\n")  # the visitor may have left in the middle of a line
            await user.serve(tty)
        except VirtmeshError as error:
            log.info("a serial port is gone", device=tty.name, error=error.message)
        except Exception:
            log.exception("a fault of the user of a serial port", user=user and user.name)
            self._boot_log.add(f"{user and user.name}: a fault; the log of the kernel says more")
        if not lost.done():
            await asyncio.sleep(PAUSE_S)
