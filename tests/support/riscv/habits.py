"""The kernel with the habits of kernels that were grown on QEMU (habits.c), for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.riscv.small_kernels import COMPILER, FLAGS, LINK

OF_C = ("-O1", "-ffreestanding", "-fno-builtin", "-Wall", "-Wextra", "-Werror")
SOURCE = Path(__file__).parent / "habits.c"


def build(folder: Path, *macros: str) -> Path:
    """Build the kernel with the habits that macros name, as habits.c lists them.

    A macro may have a value: "DISK=0x10008000". Errors: CalledProcessError.
    """
    target = folder / "habits.elf"
    defined = [f"-D{one}" for one in macros]
    subprocess.run([COMPILER, *FLAGS, *OF_C, *LINK, *defined, "-o", target, SOURCE], check=True)
    return target
