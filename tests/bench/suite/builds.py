"""The programs that the suite builds: the client of disks in Rust, floors in C."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.bench.suite.experiment import NotMeasured
from tests.bench.suite.probe import ROOT

CLIENT = ROOT / "tests/interop/virtio-driver/Cargo.toml"
TARGET = ROOT / "build/interop"
FLOORS = Path(__file__).with_name("floors")
FLOORS_TARGET = ROOT / "build/bench/floors"


@cache
def client() -> Path:
    """Build the client of the crate virtio-driver. Errors: NotMeasured."""
    built = TARGET / "release/virtmesh-interop"
    words = ["--quiet", "--locked", "--release", "--manifest-path", CLIENT, "--target-dir", TARGET]
    return _built(["cargo", "build", *words], built)


@cache
def example(package: str, name: str) -> Path:
    """Build an example of a native package. Errors: NotMeasured."""
    manifest = ROOT / "native/Cargo.toml"
    words = ["--quiet", "--locked", "--release", "--manifest-path", manifest]
    built = ROOT / "native/target/release/examples" / name
    return _built(["cargo", "build", *words, "--package", package, "--example", name], built)


@cache
def floor(name: str) -> Path:
    """Build a program of the folder `floors`. Errors: NotMeasured."""
    FLOORS_TARGET.mkdir(parents=True, exist_ok=True)
    built = FLOORS_TARGET / name
    source = FLOORS / f"{name}.c"
    return _built(["cc", "-O2", "-Wall", "-Werror", "-o", built, source], built)


def _built(command: list[object], built: Path) -> Path:
    """Run a compiler. Errors: NotMeasured."""
    program = str(command[0])
    if shutil.which(program) is None:
        raise NotMeasured(f"there is no {program} to build {built.name}")
    done = subprocess.run(["nice", *map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasured(f"{built.name} can't be built: {done.stderr.strip()[-300:]}")
    return built
