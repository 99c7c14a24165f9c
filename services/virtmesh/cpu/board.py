"""What the CPU's own devices do: those that `virtmesh_native.Board` has inside.

They are where QEMU's RISC-V `virt` board has them (virtmesh.machine.board).
"""

from __future__ import annotations

TIMEBASE_HZ = 10_000_000
"""Frequency of mtime."""
TEST_POWEROFF = 0x5555
"""Written to the test device: power off."""
TEST_RESET = 0x7777
"""Written to it: reset."""
TEST_FAIL = 0x3333
"""Written to it, with a code above 16 bits: the guest failed."""
