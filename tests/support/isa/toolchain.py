"""The cross assembler, and the machines that run what it makes.

One image serves all: an ELF file at `ORIGIN` for qemu-riscv64 (user programs) or
qemu-system-riscv64 (machine mode), and the same bytes as a flat file for the example `bare_hart` of
virtmesh-hart, at the same addresses. Each gives out the bytes between the labels `output` and
`output_end`, as they are when the program comes to the label `done`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
ORIGIN = 0x8000_0000
CROSS = "riscv64-linux-gnu-"
PROGRAMS = {
    "qemu-riscv64": "qemu-user",
    "qemu-system-riscv64": "qemu-system-misc",
    f"{CROSS}as": "binutils-riscv64-linux-gnu",
    f"{CROSS}ld": "binutils-riscv64-linux-gnu",
    f"{CROSS}objcopy": "binutils-riscv64-linux-gnu",
    f"{CROSS}objdump": "binutils-riscv64-linux-gnu",
}
"""What is called, and the package that has it."""

BUILD_SECONDS = 500
RUN_SECONDS = 120

FRAME = """\
    .option norelax
    .text
    .globl _start
_start:
    j start
    .balign 8
    .dword done, output, output_end
start:
{text}
done:
    la a1, output
    la a2, output_end
{ending}
    .data
    .balign 16
output:
{data}
output_end:
    .dword 0
"""
"""Behind the jump the header of `bare_hart`: where to stop, what to give out."""

EXIT = """\
    li a7, 64
    li a0, 1
    sub a2, a2, a1
    ecall
    li a7, 93
    li a0, 0
    ecall
"""
"""For qemu-riscv64: write() and exit()."""

POWER_OFF = """\
    li a3, 0x10000000
1:
    lbu a0, 0(a1)
    sb a0, 0(a3)
    addi a1, a1, 1
    bne a1, a2, 1b
    li a3, 0x100000
    li a0, 0x5555
    sw a0, 0(a3)
2:
    j 2b
"""
"""For qemu-system-riscv64: by the serial port of its board, then off."""


def missing_packages() -> list[str]:
    """Return the Debian packages that are missing here."""
    return sorted({package for name, package in PROGRAMS.items() if shutil.which(name) is None})


def build_bare_hart() -> Path:
    """Build the example `bare_hart` of virtmesh-hart, with overflow checks; return the program."""
    manifest = ROOT / "native/Cargo.toml"
    command = ["cargo", "build", "--quiet", "--locked", "--package", "virtmesh-hart"]
    command += ["--manifest-path", str(manifest), "--example", "bare_hart"]
    subprocess.run(command, check=True, timeout=BUILD_SECONDS)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "native/target"))
    return target / "debug/examples/bare_hart"


class Image:
    """An assembled program, as an ELF file and as a flat one."""

    def __init__(
        self, folder: Path, text: str, data: str, *, ending: str = EXIT, tables_at: int = 0
    ) -> None:
        self.folder = folder
        self.elf = folder / "image.elf"
        self.flat = folder / "image.bin"
        source, object_file = folder / "image.s", folder / "image.o"
        source.write_text(FRAME.format(text=text, data=data, ending=ending))
        cross("as", "-march=rv64gc", "-mabi=lp64d", "-o", object_file, source)
        places = [f"-Ttext={ORIGIN:#x}"]
        if tables_at:
            places.append(f"--section-start=.tables={tables_at:#x}")
        cross("ld", *places, "-o", self.elf, object_file)
        cross("objcopy", "-O", "binary", self.elf, self.flat)

    def run_on_qemu(self) -> bytes:
        """Return the output of qemu-riscv64."""
        return run(["qemu-riscv64", str(self.elf)])

    def run_on_qemu_system(self) -> bytes:
        """Return the output of qemu-system-riscv64, which starts the program in machine mode."""
        output = self.folder / "serial"
        command = [
            "qemu-system-riscv64",
            "-machine",
            "virt",
            "-cpu",
            "rv64,h=false,v=false,priv_spec=v1.12.0",
        ]
        command += ["-bios", "none", "-kernel", str(self.elf), "-serial", f"file:{output}"]
        run([*command, "-display", "none", "-monitor", "none"])
        return output.read_bytes()

    def run_on_hart(self, bare_hart: Path) -> bytes:
        """Return the output of the hart."""
        return run([str(bare_hart), "image", str(self.flat)])


def disassemble(folder: Path, code: bytes) -> list[tuple[int, str]]:
    """Return offset and text of each instruction that objdump finds in RV64GC `code`.

    What it takes for no instruction is `.2byte` or `.4byte`. Registers are numbered; aliases are
    not used.
    """
    file = folder / "code.bin"
    file.write_bytes(code)
    options = ["-D", "-z", "-b", "binary", "-m", "riscv:rv64", "-M", "no-aliases,numeric"]
    lines = cross("objdump", *options, file).splitlines()
    found = []
    for line in lines:
        offset, _, rest = line.partition(":\t")
        if rest:
            _, _, text = rest.partition("\t")
            found.append((int(offset, 16), text.partition("#")[0].strip()))
    return found


def cross(tool: str, *arguments: str | Path) -> str:
    """Run a cross tool; return what it printed."""
    return run([f"{CROSS}{tool}", *map(str, arguments)]).decode()


def run(command: list[str], given: bytes = b"") -> bytes:
    """Run a program; return its output. What it writes to stderr is in the error if it fails."""
    ran = subprocess.run(
        command, input=given, capture_output=True, timeout=RUN_SECONDS, check=False
    )
    if ran.returncode:
        note = ran.stderr.decode(errors="replace")
        raise RuntimeError(f"{' '.join(command)} ended with {ran.returncode}: {note}")
    return ran.stdout
