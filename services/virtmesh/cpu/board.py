"""Where the CPU's own devices are: those that `virtmesh_native.Board` has inside.

Addresses are those of QEMU's RISC-V `virt` board.
"""

from __future__ import annotations

TIMEBASE_HZ = 10_000_000
"""Frequency of mtime."""
TEST_ADDRESS, TEST_SIZE = 0x10_0000, 0x1000
"""The test device (SiFive test finisher): it powers the machine off, or resets it."""
TEST_POWEROFF = 0x5555
"""Written to it: power off."""
TEST_RESET = 0x7777
"""Written to it: reset."""
TEST_FAIL = 0x3333
"""Written to it, with a code above 16 bits: the guest failed."""
CLINT_ADDRESS, CLINT_SIZE = 0x200_0000, 0x1_0000
"""The core-local interruptor: mtime, mtimecmp, software interrupts."""
