"""Guest physical addresses that both a driver's RAM and the machine's board need."""

from __future__ import annotations

RAM_ADDRESS = 0x8000_0000
"""Guest physical address of the first byte of RAM, on QEMU's RISC-V `virt` board."""
