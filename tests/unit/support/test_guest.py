"""The console of a guest that misses the signal of its input, as user-mode Linux can."""

from __future__ import annotations

import sys

import pexpect
import pytest

from tests.support import guest as under_test
from tests.support.guest import PROMPT, SIZE, Guest
from virtmesh_common.errors import GuestError

CONSOLE = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"guest# ")
held = int(sys.argv[1])
line = b""
while True:
    key = os.read(0, 1)
    if key == b"\\x05":
        held = 10**6
        os.write(1, line[int(sys.argv[1]):])
    elif len(line) < held:
        os.write(1, key)
    line += key.replace(b"\\x05", b"")
    if line.endswith(b"\\n") and len(line) <= held:
        os.write(1, b"said\\r\\n==0==\\r\\nguest# ")
        line, held = b"", int(sys.argv[1])
"""
"""A shell in raw mode. It reads the rest of a line when "end of line" comes."""


@pytest.mark.parametrize("held", [5, 12, 1000])
def test_a_console_that_missed_its_input_is_woken(
    held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the command is read when another key is pressed, and its output is whole."""
    monkeypatch.setattr(under_test, "ECHO_SECONDS", 0.3)
    arguments = ["-c", CONSOLE, str(held)]
    console = pexpect.spawn(sys.executable, arguments, encoding="utf-8", dimensions=SIZE)
    guest = Guest(console)
    guest.expect(PROMPT, 30)

    said = [guest.run("true", 30) for _ in range(2)]
    console.close(force=True)

    assert said == ["said\n", "said\n"]


def test_a_console_that_ends_is_no_time_out() -> None:
    """What it said last is in the error."""
    console = pexpect.spawn("/bin/sh", ["-c", "echo 'guest# '; read x; echo bye"], encoding="utf-8")
    guest = Guest(console)
    guest.expect(PROMPT, 30)

    with pytest.raises(GuestError, match="bye"):
        guest.run("true", 30)

    console.close(force=True)
