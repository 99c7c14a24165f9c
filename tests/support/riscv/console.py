"""A riscv64 guest whose serial console is a terminal of this process.

with running(command, folder, environment) as guest:
    reach_shell(guest)
    machine = guest.run("uname -m")

Every wait is for text of the console; none is for time.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pexpect

from tests.support.guest import COMMAND_SECONDS, PROMPT, SIZE, Guest

BOOT_SECONDS = 240.0
"""Limit for a boot up to the shell. An interpreted processor on a busy host is slow."""
READY = "guest: ready"
"""What /init says when it has loaded the modules and mounted the disk."""


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Guest]:
    """Run a command whose standard streams are the guest's console. It is ended after the body."""
    program, *arguments = map(str, command)
    console = pexpect.spawn(
        program,
        arguments,
        cwd=str(folder),
        env={**os.environ, **(environment or {})},
        encoding="utf-8",
        codec_errors="replace",
        dimensions=SIZE,
        timeout=COMMAND_SECONDS,
    )
    guest = Guest(console)
    try:
        yield guest
    finally:
        console.close(force=True)


def reach_shell(guest: Guest) -> None:
    """Wait for the shell and make its terminal wide, so that no command is wrapped.

    From then on the kernel says nothing on the console; `dmesg` has it. Errors: GuestTimeout;
    GuestError.
    """
    guest.expect(re.escape(PROMPT), BOOT_SECONDS)
    guest.run(f"stty rows {SIZE[0]} columns {SIZE[1]}; dmesg -n 1")


def power_off(guest: Guest) -> int:
    """Leave the shell, which powers the machine off; returns the exit status of the command."""
    return guest.end()
