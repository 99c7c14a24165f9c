"""The console of a guest for tests: run commands, get their output and exit status.

It needs pexpect. A timeout is an error with the last text of the console.
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
"""Limit for the first prompt of the shell. Emulated processors on a busy host are slow."""
COMMAND_SECONDS = 120.0
END_SECONDS = 30.0
PROMPT = "guest# "
ECHO = "echo ==$?=="
STATUS = re.compile(r"==(\d+)==\r*\n")
"""Ends the output of a command. The echo of the command does not match, as it has no digits."""
ECHOED = re.compile(rf"(?={re.escape(ECHO)}\r*\n|{STATUS.pattern})")
"""Before the end of the echo, which is left to be read, or of the output."""
SHOWN = 8000
"""Characters of the console's text that an error shows."""
ECHO_SECONDS = 10.0
"""After this time without the whole echo of a command, a key is pressed."""
SIZE = (50, 1000)
"""Lines and columns of the terminal. It is so wide that no command is wrapped."""


@dataclass
class Guest:
    """A guest at its shell."""

    console: pexpect.spawn[str]
    text: str = ""
    """All text of the console so far."""

    def begin(self, command: str) -> None:
        """Start a command."""
        self.console.sendline(f"{command}; {ECHO}")

    def expect(self, pattern: str, seconds: float = COMMAND_SECONDS) -> str:
        """Wait for a match. Returns the text before it. Errors: GuestTimeout; GuestError."""
        try:
            self.console.expect(pattern, timeout=seconds)
        except pexpect.TIMEOUT:
            self._note()
            message = f"{pattern!r} did not match within {seconds:g} s:\n{self._end}"
            raise GuestTimeout(message) from None
        except pexpect.EOF:
            self._note()
            raise GuestError(f"the guest ended before {pattern!r}:\n{self._end}") from None
        self._note()
        return str(self.console.before)

    def finish(self, seconds: float = COMMAND_SECONDS) -> str:
        """Wait for the end of the command. Returns its output without the echo of the command.

        Errors: GuestError if the command failed; GuestTimeout.
        """
        output = self._until_echoed() + self.expect(STATUS.pattern, seconds)
        match = self.console.match
        assert isinstance(match, re.Match)
        # Input that is sent before the shell reads again would be echoed twice.
        self.expect(re.escape(PROMPT))
        if match[1] != "0":
            raise GuestError(f"a command failed with status {match[1]}:\n{self._end}")
        return output.replace("\r", "").partition("\n")[2]

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a command. Returns its output. Errors: GuestError; GuestTimeout."""
        self.begin(command)
        return self.finish(seconds)

    def interrupt(self) -> str:
        """Press Ctrl-C. Returns the output of the command that it ended."""
        self.console.sendcontrol("c")
        return self.expect(re.escape(PROMPT))

    def end(self) -> int:
        """Exit the shell, and wait for the end of the guest. Returns its exit status."""
        self.console.sendline("exit")
        self.console.expect(pexpect.EOF, timeout=END_SECONDS)
        self.console.close()
        return int(self.console.exitstatus or 0)

    def _until_echoed(self) -> str:
        """Wait until the console has echoed the command; press a key if it does not.

        User-mode Linux can miss the signal of input: it reads it when more comes. "End of line" is
        no edit of a line that the shell has not read to its end, nor of an empty one. Returns the
        text before the end of the command.
        """
        try:
            self.console.expect(ECHOED, timeout=ECHO_SECONDS)
        except pexpect.TIMEOUT:
            self.console.sendcontrol("e")
            return ""
        except pexpect.EOF:
            self._note()
            raise GuestError(f"the guest ended before its echo:\n{self._end}") from None
        self._note()
        return str(self.console.before)

    def _note(self) -> None:
        """Add new text of the console to `text`."""
        self.text += str(self.console.before or "")
        if isinstance(self.console.after, str):
            self.text += self.console.after

    @property
    def _end(self) -> str:
        return self.text[-SHOWN:]


Boot = Callable[..., AbstractContextManager[Guest]]
"""A function that boots a guest for a Cli, with additional options."""


@contextlib.contextmanager
def booted(cli: Cli, kind: str, *options: str) -> Iterator[Guest]:
    """Boot a guest with `virtmesh guest KIND` on a terminal. It is stopped at the end.

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
