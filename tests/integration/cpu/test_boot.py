"""`virtmesh boot`: a kernel runs on the devices, and its end is the end of the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.cpu.conftest import BuildKernel
    from tests.support.cli import Cli

HELLO = """
    la a0, text
    call puts
    li t0, DISK
    lw a0, (t0)
    call puthex
    j poweroff
text: .asciz "hello\\n"
"""


def test_a_kernel_prints_and_powers_off(cli: Cli, kernel: BuildKernel) -> None:
    """Its output is the command's, register reads have what the device says, the status is 0."""
    result = cli("boot", kernel(HELLO), "--disk", "disk.img,size=1M")

    assert result.returncode == 0
    assert result.stdout.replace("\r", "").startswith("hello\n0000000074726976\n")
    assert "the guest powered off" in result.stderr


@pytest.mark.parametrize(("code", "status"), [(0, 64), (5, 69), (63, 127), (4000, 127)])
def test_a_kernel_that_fails_gives_its_code(
    cli: Cli, kernel: BuildKernel, code: int, status: int
) -> None:
    """It keeps clear of the statuses that commands have."""
    result = cli("boot", kernel(f"li a0, {code}\nj fail\n"))

    assert result.returncode == status
    assert f"failed with the code {code}" in result.stderr


def test_an_access_to_a_hole_is_a_fault_with_its_address(cli: Cli, kernel: BuildKernel) -> None:
    """The guest's own trap handler gets it: cause 5, load access fault."""
    result = cli("boot", kernel("li t0, 0x50000008\nlw t1, (t0)\nj poweroff\n"))

    assert result.stdout.replace("\r", "").startswith("trap 0000000000000005\n0000000050000008\n")
    assert result.returncode == 64 + 7


def test_a_kernel_that_jumps_to_nowhere_traps(cli: Cli, kernel: BuildKernel) -> None:
    """Cause 1, instruction access fault."""
    result = cli("boot", kernel("li t0, 0x50000000\njr t0\n"))

    assert result.stdout.replace("\r", "").startswith("trap 0000000000000001\n0000000050000000\n")


def test_an_empty_slot_reads_as_no_device(cli: Cli, kernel: BuildKernel) -> None:
    """Magic number, version 2, DeviceID 0: a placeholder (virtio 1.4, 4.2.2.2)."""
    result = cli("boot", kernel("li t0, 0x10005000\nlw a0, 8(t0)\ncall puthex\nj poweroff\n"))

    assert result.stdout.replace("\r", "").startswith("0000000000000000\n")
    assert result.returncode == 0


def test_a_guest_reboots(cli: Cli, kernel: BuildKernel) -> None:
    """It runs again from its first instruction, with the devices reset; RAM keeps its content."""
    result = cli(
        "boot",
        kernel(
            """
            li t0, 0x80700000
            ld t1, (t0)
            li t2, 0x1234
            beq t1, t2, again
            sd t2, (t0)
            li t3, DISK
            li t4, 3
            sw t4, 0x70(t3)
            j reboot
        again:
            li t3, DISK
            lw a0, 0x70(t3)
            call puthex
            j poweroff
            """
        ),
        *("--disk", "disk.img,size=1M"),
    )

    assert result.returncode == 0
    assert result.stdout.replace("\r", "").startswith("0000000000000000\n")


@pytest.mark.parametrize("body", ["csrw mie, zero\nj .\n", "1: wfi\nj 1b\n", "jr zero\n"])
def test_ctrl_c_ends_any_kernel(cli: Cli, kernel: BuildKernel, body: str) -> None:
    """One that spins with interrupts off, one that sleeps for ever, one that traps for ever."""
    with cli.spawn(
        "boot", kernel("la a0, text\ncall puts\n" + body + 'text: .asciz "up\\n"\n')
    ) as it:
        assert it.stdout is not None
        assert it.stdout.read(2) == b"up"
        it.send_signal(signal.SIGINT)
        it.communicate(timeout=20)

    assert it.returncode == 130
    assert not (cli.run_dir / "state.json").exists()


def test_input_from_a_pipe_reaches_the_guest(cli: Cli, kernel: BuildKernel) -> None:
    """The end of the input is not the end of the guest."""
    path = kernel(
        """
        li t0, UART
    1:  lbu t1, 5(t0)
        andi t1, t1, 1
        beqz t1, 1b
        lbu a0, (t0)
        addi a0, a0, 1
        call putc
        j poweroff
        """
    )
    with cli.spawn("boot", path, stdin=subprocess.PIPE) as it:
        out, _ = it.communicate(b"A", timeout=30)

    assert out.startswith(b"B")
    assert it.returncode == 0


def test_the_trace_has_each_access_with_its_place_in_the_code(
    cli: Cli, kernel: BuildKernel
) -> None:
    """Symbol, device, register, value."""
    cli("boot", kernel(HELLO), "--disk", "disk.img,size=1M", "--trace", "trace.jsonl")

    lines = [json.loads(line) for line in (cli.folder / "trace.jsonl").read_text().splitlines()]
    magic = next(one for one in lines if one["device"] == "vda")
    assert (magic["register"], magic["op"], magic["value"]) == ("MagicValue", "read", "0x74726976")
    assert magic["symbol"].startswith("_start+")
    assert {one["symbol"].partition("+")[0] for one in lines if one["device"] == "serial"} == {
        "_start",
        "putc",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--initrd", "nothing"), "nothing: can't be read"),
        (("--memory", "1M"), "overlap|give the machine more memory"),
        (("--append", "x" * 3000), "command line is longer"),
        (("--trace", "nowhere/trace"), "nowhere/trace can't be written: No such file or directory"),
    ],
)
def test_what_can_not_boot_is_said_in_a_line(
    cli: Cli, kernel: BuildKernel, options: tuple[str, ...], message: str
) -> None:
    """And nothing is left running."""
    result = cli("boot", kernel("j .\n.skip 0x100000\n"), *options)

    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert pytest.importorskip("re").search(message, last), last
    assert not (cli.run_dir / "state.json").exists()


def test_a_file_for_another_machine_is_refused(cli: Cli) -> None:
    """This host's own programs are such files."""
    result = cli("boot", os.path.realpath("/bin/sh"))

    assert result.returncode == 1
    assert "it is for x86-64: the CPU is RISC-V" in result.stderr
