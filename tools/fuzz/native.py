"""The native fuzz targets: native/fuzz, built with libFuzzer's coverage and, if it is there, ASan.

Everything that is needed is in the stable toolchain: coverage is a pass of LLVM, and the run-time
library of AddressSanitizer ships with it. Its option is not stable yet, so RUSTC_BOOTSTRAP opens it
for this build.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "build" / "fuzz" / "native"
COVERAGE = (
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
)
ADDRESS_SANITIZER = "-Zsanitizer=address"


def build() -> Path:
    """Build the targets; return the program. Errors: CalledProcessError."""
    host, system = read_compiler()
    flags, environment = list(COVERAGE), dict(os.environ)
    if list(system.glob(f"lib/rustlib/{host}/lib/librustc*_rt.asan.a")):
        flags.append(ADDRESS_SANITIZER)
        environment["RUSTC_BOOTSTRAP"] = "1"
    environment["RUSTFLAGS"] = " ".join(flags)
    subprocess.run(
        [
            *("nice", "cargo", "build", "--release", "--locked", "--quiet"),
            # With a target of its own, what runs at build time is not instrumented.
            *("--target", host, "--target-dir", str(BUILT)),
            *("--manifest-path", str(ROOT / "native" / "fuzz" / "Cargo.toml")),
        ],
        env=environment,
        check=True,
    )
    return BUILT / host / "release" / "virtmesh-fuzz"


def read_compiler() -> tuple[str, Path]:
    """Return the compiler's host and where its libraries are. Errors: CalledProcessError."""
    told = ask("rustc", "--version", "--verbose")
    (host,) = (line.split()[1] for line in told.splitlines() if line.startswith("host: "))
    return host, Path(ask("rustc", "--print", "sysroot").strip())


def names(program: Path) -> list[str]:
    """Return the names of the targets. Errors: CalledProcessError."""
    return ask(str(program)).split()


def ask(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
