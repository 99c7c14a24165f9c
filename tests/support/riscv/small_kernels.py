"""Small kernels for the CPU, in assembly and in C, built with Debian's cross compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILER, NM = "riscv64-linux-gnu-gcc", "riscv64-linux-gnu-nm"
FLAGS = ("-nostdlib", "-static", "-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany")
LINK = ("-Wl,-N", "-Wl,-Ttext=0x80000000", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments")

C_FLAGS = (
    "-O1",
    "-fno-pie",
    "-no-pie",
    "-mno-relax",
    "-ffreestanding",
    "-fno-builtin",
    "-Wall",
    "-Wextra",
    "-Werror",
)
DISK_GUEST = Path(__file__).parent / "disk_guest.c"
"""Works on its disk for ever."""

PROLOGUE = """
    .option norelax
    .equ UART, 0x10000000
    .equ DISK, 0x10001000
    .equ TEST, 0x100000
    .globl _start
_start:
    la sp, stack
    la t0, trap
    csrw mtvec, t0
    li t0, UART
    li t1, 3                # LCR: 8N1; after a reset it is 5 bits
    sb t1, 3(t0)
"""
EPILOGUE = """
    .balign 4
    .balign 4
trap:                       # prints cause and address, fails with code 7
    la a0, trapped
    call puts
    csrr a0, mcause
    call puthex
    csrr a0, mtval
    call puthex
    li a0, 7
    j fail
poweroff:
    li t0, TEST
    li t1, 0x5555
    sw t1, (t0)
    j .
reboot:
    li t0, TEST
    li t1, 0x7777
    sw t1, (t0)
    j .
fail:                       # a0: code
    slli a0, a0, 16
    li t1, 0x3333
    or t1, t1, a0
    li t0, TEST
    sw t1, (t0)
    j .
putc:                       # a0: character; uses t5, t6
    li t5, UART
1:  lbu t6, 5(t5)
    andi t6, t6, 0x20
    beqz t6, 1b
    sb a0, (t5)
    ret
puts:                       # a0: text
    mv s11, ra
    mv s10, a0
1:  lbu a0, (s10)
    beqz a0, 2f
    call putc
    addi s10, s10, 1
    j 1b
2:  mv ra, s11
    ret
puthex:                     # a0: number
    mv s11, ra
    mv s9, a0
    li s8, 60
1:  srl a0, s9, s8
    andi a0, a0, 15
    addi a0, a0, '0'
    li t0, '9'
    ble a0, t0, 2f
    addi a0, a0, 39
2:  call putc
    addi s8, s8, -4
    bgez s8, 1b
    li a0, '\\n'
    call putc
    mv ra, s11
    ret
trapped: .asciz "trap "
    .balign 16
    .skip 4096
stack:
"""


def has_compiler() -> bool:
    """Say whether kernels can be built here."""
    return shutil.which(COMPILER) is not None


def build(folder: Path, body: str, name: str = "kernel.elf", prologue: str = PROLOGUE) -> Path:
    """Build a kernel. `body` follows the set-up of stack and trap vector, or another prologue."""
    source, target = folder / f"{name}.S", folder / name
    source.write_text(prologue + body + EPILOGUE)
    subprocess.run([COMPILER, *FLAGS, *LINK, "-o", str(target), str(source)], check=True)
    return target


def build_c(folder: Path, source: Path, name: str = "kernel.elf") -> Path:
    """Build a kernel in C, which has its own `_start`."""
    target = folder / name
    subprocess.run([COMPILER, *FLAGS, *C_FLAGS, *LINK, "-o", str(target), str(source)], check=True)
    return target
