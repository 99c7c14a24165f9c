"""One process of a machine: a fork of the template, its output in a log file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from virtmesh.local.log_bound import bound, earlier
from virtmesh_client.local.rundir import ProcessState, start_ticks
from virtmesh_common.errors import DeviceNotReady
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh.local.plan import Command
    from virtmesh.local.template.client import Process, Template

STOP_SECONDS = 10.0
"""How long a process may take to stop before it is killed."""
LAST_BYTES = 64 << 10
"""Where the last line is looked for."""


class Child:
    """A process that is started, and started again."""

    def __init__(self, command: Command, run_dir: Path, template: Template) -> None:
        self.command = command
        self._template = template
        self.log = run_dir / f"{command.name}.log"
        self.restarts = 0
        self.started = 0.0
        """When it was started last, in seconds of the monotonic clock."""
        self.held = ""
        """Why it is not started again; empty unless it is held."""
        self.silent = ""
        """Since when it does not answer, and why that may be; empty while it answers."""
        self.is_ending = False
        """It has been told to stop."""
        self.restart = asyncio.Event()
        """Set when somebody wants it started anew."""
        self.starts = 0
        self._silent_from: float | None = None
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        """Set when it was started, or is held."""
        self._log_start = 0
        """Size of the log when the process was started."""
        self._process: Process | None = None
        self._start_ticks = 0

    @property
    def name(self) -> str:
        """Name of the device, or "kernel"."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def state(self) -> ProcessState:
        """What state.json says of it."""
        return ProcessState(
            name=self.command.name,
            kind=self.command.kind,
            pid=self.pid,
            start_ticks=self._start_ticks,
            address=self.command.address,
            metrics=self.command.metrics,
            log=str(self.log),
            restarts=self.restarts,
            held=self.held,
            silent=self.silent,
        )

    @property
    def lasted(self) -> float:
        """Seconds for which it was of use since its start: until now, or until it fell silent."""
        return (self._silent_from or time.monotonic()) - self.started

    def begin_log(self) -> None:
        """Begin an empty log, and keep that of the run before as NAME.log.1. Errors: OSError."""
        if self.log.exists():
            self.log.replace(earlier(self.log))
        self.log.touch(mode=0o600)

    def bound_log(self) -> None:
        """Keep the log from growing without end. Errors: OSError."""
        if bound(self.log):
            self._log_start = 0

    async def start(self, *, again: bool = False) -> None:
        """Start it. Ctrl-C in a terminal does not reach it: it stops when it is told to.

        Errors: BadMachine when the host starts no process; OSError.
        """
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = await self._template.start(self.command.request(again=again), log)
        self.started = time.monotonic()
        self.starts += 1
        self.is_ending = False
        self.note_answer()
        self._news.set()
        self._start_ticks = start_ticks(self.pid) or 0
        self.restarts += again

    async def wait(self) -> int:
        """Wait for its end; returns the exit status, negative for a signal."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return await self._process.wait()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until somebody wants it started."""
        with contextlib.suppress(TimeoutError):
            async with time_limit(seconds):
                await self.restart.wait()

    def note_silence(self, what: str, since: float) -> None:
        """Take note that it does not answer, since a time of the monotonic clock."""
        self.silent, self._silent_from = what, since

    def note_answer(self) -> None:
        """Take note that it answers."""
        self.silent, self._silent_from = "", None

    def hold(self, why: str) -> None:
        """Take note that it is not started again."""
        self.held = why
        self._news.set()

    async def renew(self) -> None:
        """Stop it, and wait until it is started anew. Errors: DeviceNotReady when it is held."""
        async with self._turn:
            before = self.starts
            self.restart.set()
            await self.stop()
            while self.starts == before:
                if self.held and not self.restart.is_set():
                    raise DeviceNotReady(f"{self.name} is held again: {self.held}")
                self._news.clear()
                await self._news.wait()
            self.restart.clear()  # it was on its way already

    async def stop(self) -> None:
        """Stop it: SIGTERM, and SIGKILL for what is left after STOP_SECONDS."""
        if self._process is None:
            return
        self.is_ending = True
        self._process.send_signal(signal.SIGTERM)
        try:
            async with time_limit(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """Kill it and its whole session's process group."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has not begun its session yet
                os.killpg(self.pid, signal.SIGKILL)
            self._process.send_signal(signal.SIGKILL)

    def last_line(self) -> str:
        """Return the last line that it wrote since it was started."""
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - LAST_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "it wrote nothing")
