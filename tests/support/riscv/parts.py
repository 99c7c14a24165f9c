"""The files that a riscv64 guest boots from, as tools/guests.sh leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Parts:
    """A folder that `tools/guests.sh FOLDER riscv64` has filled (FOLDER/riscv64)."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """Debian's kernel, a raw image with the RISC-V header."""
        return self.folder / "Image"

    @property
    def initramfs(self) -> Path:
        """Busybox, modules and an /init that gives a shell."""
        return self.folder / "initramfs.cpio"

    @property
    def firmware(self) -> Path:
        """OpenSBI for the start of RAM; it jumps to what lies 2 MiB above."""
        return self.folder / "fw_jump.bin"

    @property
    def u_boot(self) -> Path:
        """U-Boot for M-mode, in the firmware's place."""
        return self.folder / "u-boot.bin"

    @property
    def u_boot_smode(self) -> Path:
        """U-Boot for S-mode, in the kernel's place behind OpenSBI."""
        return self.folder / "u-boot-smode.bin"
