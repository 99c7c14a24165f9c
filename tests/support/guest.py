"""The console of a guest for tests: commands go in, output and exit status come out.

Needs pexpect. What does not come in time is an error with the end of the console's text.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pexpect

from virtmesh_common.errors import GuestError, GuestTimeout

if TYPE_CHECKING:
    from tests.support.cli import Cli

BOOT_SECONDS = 90.0
"""Limit for the shell to appear: emulated processors on a busy host are slow."""
COMMAND_SECONDS = 120.0
END_SECONDS = 30.0
PROMPT = "guest# "
STATUS = re.compile(r"==(\d+)==\r*\n")
"""What ends the output of a command; the echo of the command itself has no digits there."""
SHOWN = 8000
"""Characters of the console that an error shows."""
SIZE = (50, 1000)
"""Lines and columns of the terminal: no command is folded."""


@dataclass
class Guest:
    """A guest at its shell."""

    console: pexpect.spawn[str]
    text: str = ""
    """All that the console has said."""

    def begin(self, command: str) -> None:
        """Start a command."""
        self.console.sendline(command + "; echo ==$?==")

    def expect(self, pattern: str, seconds: float = COMMAND_SECONDS) -> str:
        """Wait for a line that matches; returns what came before. Errors: GuestTimeout."""
        try:
            self.console.expect(pattern, timeout=seconds)
        except pexpect.TIMEOUT:
            self._note()
            raise GuestTimeout(f"{pattern!r} did not come in {seconds:g} s:\n{self._end}") from None
        except pexpect.EOF:
            self._note()
            raise GuestError(f"the guest ended before {pattern!r}:\n{self._end}") from None
        self._note()
        return str(self.console.before)

    def finish(self, seconds: float = COMMAND_SECONDS) -> str:
        """Wait for the end of the command; returns its output. Errors: GuestError when it failed.

        The first line, its own echo, is left out.
        """
        output = self.expect(STATUS.pattern, seconds)
        match = self.console.match
        assert isinstance(match, re.Match)
        # What is sent before the shell reads again would be echoed twice.
        self.expect(re.escape(PROMPT))
        if match[1] != "0":
            raise GuestError(f"a command failed with status {match[1]}:\n{self._end}")
        return output.replace("\r", "").partition("\n")[2]

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a command; returns its output. Errors: GuestError; GuestTimeout."""
        self.begin(command)
        return self.finish(seconds)

    def interrupt(self) -> str:
        """Press Ctrl-C; returns the output of the command that it ended."""
        self.console.sendcontrol("c")
        return self.expect(re.escape(PROMPT))

    def end(self) -> int:
        """Leave the shell, and wait for the end of the guest; returns the exit status."""
        self.console.sendline("exit")
        self.console.expect(pexpect.EOF, timeout=END_SECONDS)
        self.console.close()
        return int(self.console.exitstatus or 0)

    def _note(self) -> None:
        """Keep what the console said."""
        self.text += str(self.console.before or "")
        if isinstance(self.console.after, str):
            self.text += self.console.after

    @property
    def _end(self) -> str:
        return self.text[-SHOWN:]


Boot = Callable[..., AbstractContextManager[Guest]]
"""Boots a guest for a Cli, with more options."""


@contextlib.contextmanager
def booted(cli: Cli, kind: str, *options: str) -> Iterator[Guest]:
    """Boot a guest with `virtmesh guest KIND` on a terminal; it is stopped at the end.

    Errors: GuestError; GuestTimeout.
    """
    arguments = ["-m", "virtmesh_client", "guest", kind, "--append", "loglevel=4", *options]
    console = pexpect.spawn(
        sys.executable,
        arguments,
        cwd=str(cli.folder),
        env={**os.environ, "VIRTMESH_RUN_DIR": str(cli.run_dir), **cli.environment},
        encoding="utf-8",
        codec_errors="replace",
        dimensions=SIZE,
        timeout=COMMAND_SECONDS,
    )
    guest = Guest(console)
    try:
        guest.expect(re.escape(PROMPT), BOOT_SECONDS)
        yield guest
    finally:
        console.close(force=True)
