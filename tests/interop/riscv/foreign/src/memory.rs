//! What compiled code calls and no library of this target has, byte by byte.
//! In assembly, since a compiler makes calls of these functions from loops like theirs.

use core::arch::global_asm;

global_asm!(
    ".text",
    ".globl memcpy, memmove, memset, memcmp, bcmp",
    "memmove:", // a0: to, a1: from, a2: bytes
    "bleu a0, a1, memcpy",
    "add t0, a0, a2",
    "add a1, a1, a2",
    "1: beq t0, a0, 2f",
    "addi t0, t0, -1",
    "addi a1, a1, -1",
    "lbu t1, (a1)",
    "sb t1, (t0)",
    "j 1b",
    "2: ret",
    "memcpy:",
    "mv t0, a0",
    "add a2, a2, a0",
    "1: beq t0, a2, 2f",
    "lbu t1, (a1)",
    "sb t1, (t0)",
    "addi t0, t0, 1",
    "addi a1, a1, 1",
    "j 1b",
    "2: ret",
    "memset:", // a0: to, a1: value, a2: bytes
    "mv t0, a0",
    "add a2, a2, a0",
    "1: beq t0, a2, 2f",
    "sb a1, (t0)",
    "addi t0, t0, 1",
    "j 1b",
    "2: ret",
    "bcmp:",
    "memcmp:", // a0, a1: areas, a2: bytes
    "add a2, a2, a0",
    "1: beq a0, a2, 3f",
    "lbu t0, (a0)",
    "lbu t1, (a1)",
    "bne t0, t1, 2f",
    "addi a0, a0, 1",
    "addi a1, a1, 1",
    "j 1b",
    "2: sub a0, t0, t1",
    "ret",
    "3: li a0, 0",
    "ret",
);
