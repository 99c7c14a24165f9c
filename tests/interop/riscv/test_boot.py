"""From the firmware to the shell, and the three ways out: power-off, reboot, the guest's code."""

from __future__ import annotations

import os
import re

import pexpect
import pytest

from tests.support.cli import Cli
from tests.support.guest import END_SECONDS, PROMPT
from tests.support.riscv.boot import Rig, environment, linux_command
from tests.support.riscv.console import BOOT_SECONDS, READY, reach_shell, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.report import read_report
from virtmesh_common.errors import GuestError

REBOOTS = int(os.environ.get("VIRTMESH_REBOOTS", "3"))
"""Ten take some minutes: the gate has the short form."""
TEST_FAIL = 0x3333
"""What the board's test device takes for a failure; the code is above it."""


def test_the_kernel_reaches_its_shell_on_our_uart(rig: Rig) -> None:
    """Firmware, kernel and shell speak through the 16550A; its interrupt and the disk's arrive."""
    machine = rig.guest.run("uname -m")
    interrupts = rig.guest.run("cat /proc/interrupts")

    assert "OpenSBI v" in rig.guest.text
    assert re.search(r"ttyS0 at MMIO 0x10000000 \(irq = \d+, .*\) is a 16550A", rig.guest.text)
    assert machine == "riscv64\n"
    assert re.search(r"^ *\d+: +[1-9]\d* .* ttyS0$", interrupts, re.MULTILINE)
    assert re.search(r"^ *\d+: +[1-9]\d* .* virtio\d$", interrupts, re.MULTILINE)


def test_ctrl_c_reaches_what_runs_in_the_guest(rig: Rig) -> None:
    """It ends a command that would never end; the shell goes on."""
    # Said by the job itself: it is in the foreground by then, not the shell that starts it.
    rig.guest.begin("(echo begun''.; exec cat /dev/zero >/dev/null)")
    rig.guest.expect(re.escape("begun."))
    rig.guest.interrupt()

    assert rig.guest.run("echo alive") == "alive\n"


def test_a_long_line_reaches_the_shell_whole(rig: Rig) -> None:
    """More bytes at once than the receiver's FIFO holds: none is lost."""
    line = "".join(chr(ord("a") + index % 26) for index in range(800))

    assert rig.guest.run(f"echo {line}") == line + "\n"


def test_much_output_arrives_whole_and_in_order(rig: Rig) -> None:
    """Thousands of lines through the transmitter."""
    output = rig.guest.run("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")

    assert output == "".join(f"line {number}\n" for number in range(2000))


def test_power_off_in_the_guest_ends_boot_with_0(riscv: Parts, cli: Cli) -> None:
    """No process of the machine is left."""
    command = linux_command(riscv, append="guest.then=poweroff")
    with running(command, cli.folder, environment(cli)) as guest:
        guest.expect(READY, BOOT_SECONDS)
        guest.console.expect(pexpect.EOF, timeout=END_SECONDS)
        guest.console.close()

        assert guest.console.exitstatus == 0
    with pytest.raises(LookupError, match="no machine"):
        _ = cli.state


def test_reboots_in_the_guest_come_back_to_the_shell(riscv: Parts, cli: Cli) -> None:
    """The devices are reset by the kernel alone; each boot finds the disk and mounts it.

    The firmware and the kernel break no rule on their way back, either.
    """
    command = linux_command(riscv, "--disk=blank.img,size=8M", "--input=keyboard")
    with running(command, cli.folder, environment(cli)) as guest:
        reach_shell(guest)
        for _ in range(REBOOTS):
            guest.console.sendline("reboot -f")
            # Not the echo: the firmware's banner is said after the reset only.
            guest.expect(re.escape("OpenSBI v"), BOOT_SECONDS)
            guest.expect("guest: disk vda of 16384 sectors", BOOT_SECONDS)
            guest.expect(re.escape(PROMPT), BOOT_SECONDS)
        found, violations = read_report(cli)
        status = guest.end()

    assert (found, violations) == ({name: {} for name in ("serial", "vda", "keyboard", "board")}, 0)
    assert status == 0


def test_a_kernel_that_is_no_kernel_is_refused(riscv: Parts, cli: Cli) -> None:
    """An ELF file for this host's own processor: one line names the trouble; nothing is started."""
    ran = cli("boot", "/bin/true", "--firmware", riscv.firmware)

    assert ran.returncode not in (0, None)
    assert "Traceback" not in ran.stderr
    assert "RISC-V" in ran.stderr
    with pytest.raises(LookupError):
        _ = cli.state


def test_the_guests_own_code_is_in_the_exit_status(riscv: Parts, cli: Cli) -> None:
    """A guest that writes a code to the test device ends `virtmesh boot` with 64 and the code."""
    with running(linux_command(riscv), cli.folder, environment(cli)) as guest:
        reach_shell(guest)
        guest.console.sendline(f"devmem 0x100000 32 {TEST_FAIL | 7 << 16:#x}")
        guest.console.expect(pexpect.EOF, timeout=END_SECONDS)
        guest.console.close()

        assert guest.console.exitstatus == 64 + 7


def test_ctrl_bracket_stops_the_machine(riscv: Parts, cli: Cli) -> None:
    """Whatever the guest does; the exit status is 0, and no process is left."""
    with running(linux_command(riscv), cli.folder, environment(cli)) as guest:
        guest.expect("Linux version", BOOT_SECONDS)
        guest.console.send("\x1d")
        guest.console.expect(pexpect.EOF, timeout=END_SECONDS)
        guest.console.close()

        assert guest.console.exitstatus == 0
    with pytest.raises(LookupError):
        _ = cli.state


def test_the_shell_ends_only_when_the_guest_does(rig: Rig) -> None:
    """A command that fails is an error of the guest's, not of the machine."""
    with pytest.raises(GuestError, match="status 3"):
        rig.guest.run("(exit 3)")

    assert rig.guest.run("echo alive") == "alive\n"
