"""One session at the console: read a line, obey it, and again, until the tty is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import structlog

from virtmesh.kernel.monitor.command import BadCommand, Command, split
from virtmesh.kernel.monitor.commands import all_commands
from virtmesh.kernel.monitor.line_editor import LineEditor
from virtmesh.kernel.monitor.screen import Screen
from virtmesh.kernel.monitor.shell import Shell
from virtmesh.kernel.monitor.typed import Typed
from virtmesh_common import __version__
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from virtmesh.kernel.boot_log import BootLogReader
    from virtmesh.kernel.kernel import Kernel
    from virtmesh.kernel.tty import Tty

log = structlog.get_logger(__name__)

PROMPT = "virtmesh> "
PIECE = 512
"""Most bytes that are edited at once."""
SETTLE_S = 3.0
"""Longest wait for the devices before the banner, so that a boot is read in one piece."""


class Session:
    """Talks to whoever is at a tty. `run` ends with the error of the tty."""

    def __init__(self, kernel: Kernel, tty: Tty, boot_log: BootLogReader) -> None:
        self._kernel = kernel
        self._tty = tty
        self._boot_log = boot_log
        self._editor = LineEditor(PROMPT, self._complete)
        self._typed = Typed(tty)
        self._screen = Screen(tty, self._editor)
        self._shell = Shell(kernel, tty, self._typed, self._screen)

    async def run(self) -> NoReturn:
        """Greet, and serve. Errors: VirtmeshError when the tty is lost."""
        printing = asyncio.create_task(self._print_log(), name="monitor boot log")
        try:
            await self._kernel.settled(SETTLE_S)
            await self._boot_log.pass_on(self._screen.write_log)
            await self._screen.write(
                f"\nWelcome to virtmesh {__version__}, machine {self._kernel.machine.name};"
                " type help\n"
            )
            while True:
                line = await self._read_line()
                if line is not None:
                    await self._obey(line)
        finally:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)
            await self._typed.close()

    async def _print_log(self) -> None:
        """Show the boot log as it comes. That the tty is lost is for the session to notice."""
        try:
            while True:
                await self._boot_log.news()
                await self._boot_log.pass_on(self._screen.write_log)
        except VirtmeshError:
            pass
        except Exception:
            log.exception("a fault of the monitor", part="boot log")

    async def _read_line(self) -> str | None:
        """Read a line; None when it was given up."""
        await self._screen.prompt()
        while True:
            typed = await self._typed.read()
            # A piece at a time: who sends without end must not keep the kernel from its work.
            fed = self._editor.feed(typed[:PIECE])
            self._typed.give_back(typed[fed.used :])
            ended = fed.cancelled or fed.line is not None
            await self._screen.show_typed(fed.echo, ended=ended)
            await asyncio.sleep(0)  # neither reading nor echoing waits while there is room
            if ended:
                return fed.line

    async def _obey(self, line: str) -> None:
        """Do what a line says; what goes wrong is shown."""
        name = "monitor"
        try:
            words = split(line)
            if not words:
                return
            name, *arguments = words
            found = all_commands().get(name)
            if found is None:
                raise BadCommand("no such command. Try: help")  # noqa: TRY301 - shown as all others
            await self._finish(found, found.prepare(arguments, self._shell))
        except (BadCommand, VirtmeshError) as error:
            # Where it is the tty that is lost, this fails as well, and ends the session.
            await self._shell.write(f"{name}: {' '.join(str(error).split())}")
        except Exception:
            log.exception("a fault of the monitor", command=name)
            await self._shell.write(f"{name}: a fault of the kernel; its log says more")

    async def _finish(self, command: Command, work: Awaitable[None]) -> None:
        """Run a command to its end, or until ^C is typed."""
        if command.raw:
            await work
            return
        running = asyncio.ensure_future(work)
        cancelled = asyncio.create_task(self._typed.cancelled(), name="monitor ^C")
        try:
            await asyncio.wait((running, cancelled), return_when=asyncio.FIRST_COMPLETED)
            if cancelled.done():
                cancelled.result()
                running.cancel()
                await asyncio.wait((running,))
        finally:
            for task in (running, cancelled):
                task.cancel()
            await asyncio.gather(running, cancelled, return_exceptions=True)
        if running.cancelled():
            await self._shell.write("^C")
        else:
            running.result()

    def _complete(self, text: str) -> Sequence[str]:
        """Return what the last word can be: a command, or the name of a device."""
        first, *more = text.split(" ")
        if more and first != "help":
            prefixes = ("", "blk:", "ram:")
            return [f"{prefix}{name}" for prefix in prefixes for name in self._kernel.devices]
        return list(all_commands())
