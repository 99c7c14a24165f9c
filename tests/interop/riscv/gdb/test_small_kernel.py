"""gdb as its users know it, on a small kernel in C that Debian's cross compiler has built."""

from __future__ import annotations

import re
import shlex

from tests.interop.riscv.gdb.conftest import Target
from tests.support.cli import eventually
from tests.support.riscv.debugger import gdb


def test_by_symbol_a_structure_steps_and_on(target: Target) -> None:
    """A break by symbol, a structure, a list, a finished call, a changed variable, a detach."""
    with gdb(target.kernel) as debugger:
        assert "_start ()" in debugger.run(target.remote)
        assert "=> 0x80000000 <_start>" in debugger.run("x/i $pc")
        debugger.run("break take_turn")
        assert "Breakpoint 1, take_turn (task=" in debugger.run("continue")
        assert re.search(
            r"#0  take_turn .*\n#1  .* in kernel_main .*\n#2  .* in _start", debugger.run("bt")
        )
        task = debugger.run("print *task")
        assert re.search(
            r'name = \w+ "init", id = 1, at = {x = 3, y = 4}, key = {10, 20, 30, 40}', task
        )
        assert '"idle", id = 3, at = {x = 7, y = -8}' in debugger.run("print *task->next->next")
        assert "turns++" in debugger.run("next")
        assert "total = sum" in debugger.run("next")
        assert "sum (task=" in debugger.run("step")
        assert "Value returned is $3 = 6" in debugger.run("finish")
        debugger.run("set var weight = 100")
        debugger.run("finish")
        assert debugger.run("print total") == "$4 = 600\n"
        assert "detached" in debugger.run("detach")
        debugger.save("gdb-small-kernel.txt")

    assert target.cpu.status().state == "running"


def test_steps_through_traps(target: Target) -> None:
    """An ecall leads to the handler's first instruction, mret back, a WFI to what follows it."""
    with gdb(target.kernel) as debugger:
        debugger.run(target.remote)
        debugger.run("tbreak *call_here")
        debugger.run("continue")
        debugger.run("stepi")
        at_handler = debugger.run("x/i $pc")
        cause = debugger.run("print $mcause")
        debugger.run("tbreak *trap_return")
        debugger.run("continue")
        debugger.run("stepi")
        after = debugger.run("x/i $pc")
        debugger.run("stepi")
        behind_wfi = debugger.run("print $pc == (long)&sleep_here + 4")

    assert "<trap_entry>:" in at_handler
    assert cause == "$1 = 11\n"
    assert "wfi" in after
    assert behind_wfi == "$2 = 1\n"


def test_a_step_leaves_interrupts_pending_unless_asked(target: Target) -> None:
    """Else gdb, which steps off its breakpoint, would meet it again behind the handler."""
    with gdb(target.kernel) as debugger:
        debugger.run(target.remote)
        debugger.run("tbreak take_turn")
        debugger.run("continue")
        # A software interrupt of the supervisor, that machine mode takes.
        debugger.run("set $mie = 2")
        debugger.run("set $mip = 2")
        debugger.run("stepi")
        without = debugger.run("info symbol $pc")
        said = debugger.run("monitor interrupts on")
        debugger.run("stepi")
        within = debugger.run("info symbol $pc")
        cause = debugger.run("print/x $mcause")

    assert without.startswith("take_turn + ")
    assert said == "a step takes interrupts\n"
    assert within.startswith("trap_entry + ")
    assert cause == "$1 = 0x8000000000000001\n"


def test_watchpoints_name_what_is_touched(target: Target) -> None:
    """By a write, in the trap handler; by a read; by both."""
    with gdb(target.kernel) as debugger:
        debugger.run(target.remote)
        debugger.run("watch system_calls")
        written = debugger.run("continue")
        debugger.run("delete")
        debugger.run("rwatch weight")
        read = debugger.run("continue")
        debugger.run("delete")
        debugger.run("awatch total")
        touched = debugger.run("continue")

    assert "Hardware watchpoint 1: system_calls\n\nOld value = 0\nNew value = 1\n" in written
    assert "in handle_trap (" in written
    assert "Hardware read watchpoint 2: weight\n\nValue = 5" in read
    assert "Hardware access (read/write) watchpoint 3: total" in touched


def test_registers_and_memory(target: Target) -> None:
    """Control and status registers with their fields; RAM up to its end, and no device's."""
    with gdb(target.kernel) as debugger:
        debugger.run(target.remote)
        debugger.run("break handle_trap if cause == 11")
        debugger.run("continue")
        registers = debugger.run("info registers")
        fields = debugger.run("info registers mstatus")
        assert debugger.run("print $mtvec == &trap_entry") == "$1 = 1\n"
        vector = debugger.run("info symbol $mtvec")
        last = debugger.run("x/4wx 0x87fffff8")
        device = debugger.run("x/wx 0x10000000")
        nowhere = debugger.run("x/wx 0")

    assert re.search(r"^a0 +0xb\t11$", registers, re.MULTILINE)
    assert "MPP:3" in fields
    assert vector.startswith("trap_entry in section")
    assert re.search(r"0x87fffff8:\t\w+\t\w+\tCannot access memory at address 0x88000000", last)
    assert "Cannot access memory at address 0x10000000" in device
    assert "Cannot access memory at address 0x0" in nowhere


def test_ctrl_c_and_what_the_command_says(target: Target) -> None:
    """The command that `virtmesh boot` prints attaches; Ctrl-C stops a guest that runs."""
    program, _, remote, kernel = shlex.split(target.attach)
    with gdb(target.kernel) as debugger:
        debugger.run(remote)
        debugger.begin("continue")
        stopped = debugger.interrupt()
        pc = debugger.run("print $pc")

    assert (program, kernel) == ("gdb-multiarch", str(target.kernel))
    assert "Program received signal SIGINT" in stopped
    assert "0x8000" in pc


def test_gdb_that_is_killed_leaves_the_guest_running(target: Target) -> None:
    """Also when it stood at its breakpoint. Another gdb attaches, and finds no breakpoint."""
    with gdb(target.kernel) as none:
        none.run(target.remote)
        none.kill()
    assert target.cpu.status().state == "stopped"  # It was before, and nobody let it run.
    with gdb(target.kernel) as first:
        first.run(target.remote)
        first.run("break take_turn")
        first.run("continue")
        first.kill()
    eventually(lambda: target.cpu.status().state == "running")
    with gdb(target.kernel) as second:
        attached = second.run(target.remote)
        second.begin("continue")
        stopped = second.interrupt()
        second.run("detach")

    assert "Remote debugging using" in attached
    assert "SIGINT" in stopped
    assert target.cpu.status().state == "running"


def test_quit_and_kill_leave_the_guest_running(target: Target) -> None:
    """The machine is not the debugger's to end."""
    for command in ("kill", "quit"):
        with gdb(target.kernel) as debugger:
            debugger.run(target.remote)
            assert target.cpu.status().state == "stopped"
            debugger.console.sendline(command)
            eventually(lambda: target.cpu.status().state == "running")


def test_a_second_gdb_is_told_why(target: Target) -> None:
    """One debugger at a time; the first one goes on."""
    with gdb(target.kernel) as first, gdb(target.kernel) as second:
        first.run(target.remote)
        refused = second.run(target.remote)

        assert "another debugger is attached to this machine" in refused
        assert "0x80000000" in first.run("print $pc")


def test_monitor_commands(target: Target) -> None:
    """Help, state, devices, translation, and a new boot."""
    with gdb(target.kernel) as debugger:
        debugger.run(target.remote)
        debugger.run("tbreak take_turn")
        debugger.run("continue")
        helped = debugger.run("monitor help")
        unknown = debugger.run("monitor wipe")
        status = debugger.run("monitor status")
        devices = debugger.run("monitor devices")
        translated = debugger.run("monitor translate 0x80000000")
        debugger.run("monitor reset")
        debugger.run("maintenance flush register-cache")
        pc = debugger.run("print $pc")

    assert "monitor translate ADDRESS" in helped
    assert "'wipe' is no command" in unknown
    assert re.match(r"stopped at \w+ <take_turn>, machine mode; boot \d+, \d+ instr", status)
    assert devices == "0x10000000  serial: ready\n"
    assert translated == "0x80000000: 0x80000000\n"
    assert "_start" in pc
