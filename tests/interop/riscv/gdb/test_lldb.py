"""Debian's lldb on the small kernel. What its version can't do on RISC-V is in docs/boot.md."""

from __future__ import annotations

import os
import re
import subprocess

import pexpect

from tests.interop.riscv.gdb.conftest import Target
from tests.support.riscv.debugger import SECONDS

QUIET = ("--no-lldbinit", "--no-use-colors")


def lldb(target: Target, *commands: str) -> str:
    """Attach, execute commands one after the other, and leave; returns what lldb printed."""
    given = (f"gdb-remote 127.0.0.1:{target.port}", *commands)
    options = [option for command in given for option in ("-o", command)]
    ran = subprocess.run(
        ["lldb", *QUIET, "--batch", *options, target.kernel.name],
        cwd=target.kernel.parent,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return ran.stdout


def test_lldb_stops_by_symbol_steps_and_changes_the_guest(target: Target) -> None:
    """Registers by its own names, the frames, a structure, steps, a changed variable."""
    said = lldb(
        target,
        "register read pc sp mstatus",
        "breakpoint set -n take_turn",
        "continue",
        "bt",
        "frame variable *task",
        "thread step-inst",
        "thread step-over",
        "expression weight = 100",
        "thread step-over",
        "target variable total",
        "memory read -s 8 -f d -c 1 `&weight`",
        "detach",
    )

    assert re.search(r"pc = 0x0*80000000 +kernel.elf`_start", said)
    assert "stop reason = breakpoint 1.1" in said
    assert re.search(r"frame #0: .*`take_turn.*\n.*frame #1: .*`kernel_main", said)
    assert '"init"\n  id = 1\n  at = (x = 3, y = 4)' in said
    assert "stop reason = instruction step into" in said
    assert said.count("stop reason = step over") == 2
    assert "total = 600" in said
    assert re.search(r"0x8\w+: 100", said)
    assert "Process 1 detached" in said
    assert target.cpu.status().state == "running"


def test_lldb_watches(target: Target) -> None:
    """It stops at the write, and says what was there and what is."""
    said = lldb(
        target,
        "breakpoint set -n sum",
        "continue",
        "watchpoint set variable total",
        "breakpoint delete 1",
        "continue",
    )

    assert "stop reason = watchpoint 1" in said
    assert "old value: 0\nnew value: 30" in said


def test_lldb_stops_a_guest_that_runs(target: Target) -> None:
    """By Ctrl-C; and a lldb that goes away leaves the guest running."""
    console = pexpect.spawn(
        "lldb",
        [*QUIET, target.kernel.name],
        cwd=str(target.kernel.parent),
        env={**os.environ, "TERM": "dumb"},
        encoding="utf-8",
        timeout=SECONDS,
    )
    try:
        console.sendline(f"gdb-remote 127.0.0.1:{target.port}")
        console.expect("stop reason = signal SIGINT")
        console.sendline("continue")
        console.expect("Process 1 resuming")
        console.sendintr()
        console.expect("stop reason = signal SIGINT")
        assert target.cpu.status().state == "stopped"
        console.sendline("detach")
        console.expect("Process 1 detached")
    finally:
        console.close(force=True)

    assert target.cpu.status().state == "running"
