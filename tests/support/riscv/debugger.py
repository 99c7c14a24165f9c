"""A debugger on a terminal, for tests: gdb as its users type at it, and what it answered.

with gdb(kernel) as debugger:
    debugger.run("target remote 127.0.0.1:4444")
    assert "init" in debugger.run("print *task")
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect

SECONDS = 120.0
"""Limit for a command. A guest on a busy host is slow."""
TRANSCRIPT = "VIRTMESH_TRANSCRIPT"
"""Names a folder that gets what the debuggers were told and answered."""
PROMPT = "(gdb) "
SETTINGS = ("set pagination off", "set confirm off", "set width 0", "set style enabled off")


@dataclass
class Debugger:
    """gdb at its prompt."""

    console: pexpect.spawn[str]
    transcript: str = ""

    def run(self, command: str) -> str:
        """Type a command and return what it printed. Errors: pexpect.TIMEOUT; pexpect.EOF."""
        self.begin(command)
        return self.finish()

    def begin(self, command: str) -> None:
        """Type a command that may run the guest: `finish` waits for the prompt."""
        self.console.sendline(command)
        self.transcript += PROMPT

    def finish(self) -> str:
        """Wait for the prompt and return what was printed since, without the echo."""
        self.console.expect_exact(PROMPT)
        text = str(self.console.before).replace("\r", "")
        self.transcript += text
        return text.partition("\n")[2]

    def interrupt(self) -> str:
        """Press Ctrl-C while the guest runs; return what was printed. Call after `begin`."""
        self.console.expect_exact("Continuing.")
        self.transcript += str(self.console.before).replace("\r", "") + "Continuing."
        self.console.sendintr()
        return self.finish()

    def kill(self) -> None:
        """End it at once (SIGKILL): it can say nothing to anyone."""
        self.console.kill(signal.SIGKILL)
        self.console.wait()

    def save(self, name: str) -> None:
        """Keep the transcript, if somebody wants it."""
        folder = os.environ.get(TRANSCRIPT)
        if folder:
            (Path(folder) / name).write_text(self.transcript)


@contextlib.contextmanager
def gdb(symbols: Path | None = None) -> Iterator[Debugger]:
    """Start gdb with the symbols of a file. It is ended after the body."""
    console = pexpect.spawn(
        "gdb-multiarch",
        ["-nx", "-q", *([symbols.name] if symbols else [])],
        cwd=str(symbols.parent) if symbols else None,
        env={**os.environ, "TERM": "dumb"},
        encoding="utf-8",
        codec_errors="replace",
        timeout=SECONDS,
    )
    debugger = Debugger(console)
    try:
        console.expect_exact(PROMPT)
        for setting in SETTINGS:
            debugger.run(setting)
        debugger.transcript = ""
        yield debugger
    finally:
        console.close(force=True)
