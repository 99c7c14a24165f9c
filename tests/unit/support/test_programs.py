"""Every program of the system that is run has a Debian package that tools/doctor.sh names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

FOLDERS = ("clients", "services", "tests", "tools")
RUNNERS = {
    "Popen", "call", "check_call", "check_output", "create_subprocess_exec", "run", "spawn",
    "which",
}  # fmt: skip
RECEIVERS = {"asyncio", "pexpect", "shutil", "subprocess"}
ESSENTIAL = {
    "bash": "bash", "cat": "coreutils", "cp": "coreutils", "losetup": "mount", "ls": "coreutils",
    "mount": "mount",
    "nice": "coreutils", "script": "bsdutils", "sh": "dash", "sleep": "coreutils",
    "tar": "tar", "taskset": "util-linux", "true": "coreutils", "umount": "mount",
    "unshare": "util-linux",
}  # fmt: skip
"""Programs of packages that every Debian has: those marked essential, and mount."""
PACKAGES = {
    "apt-get": "apt-get", "cc": "gcc", "chromium": "chromium",
    "cpio": "cpio", "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs", "mkfs.ext4": "e2fsprogs",
    "riscv64-linux-gnu-nm": "binutils-riscv64-linux-gnu",
    "docker": "docker.io", "docker-compose": "docker-compose",
    "dtc": "device-tree-compiler", "edid-decode": "edid-decode", "evtest": "evtest",
    "fio": "fio", "gvnccapture": "gvncviewer", "gdb-multiarch": "gdb-multiarch", "git": "git",
    "node": "nodejs", "npm": "npm",
    "ip": "iproute2", "ldd": "libc6-dev", "lldb": "lldb", "mke2fs": "e2fsprogs",
    "picocom": "picocom", "socat": "socat",
    "stunnel": "stunnel4",
    "prometheus": "prometheus", "promtool": "prometheus", "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils", "qemu-storage-daemon": "qemu-system-common",
    "qemu-system-aarch64": "qemu-system-arm", "qemu-system-riscv64": "qemu-system-misc",
}  # fmt: skip
"""What else is run, and the package that has it."""
OTHERS = {"buf", "cargo", "go", "grpcurl", "uv"}
"""What .venv has, compilers that doctor.sh checks itself, and what Debian does not have."""


def programs(path: Path) -> Iterator[tuple[str, str]]:
    """Find the names of programs that a module runs, each with its place."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=receiver), attr=runner), args=[first, *_]
            ) if receiver in RECEIVERS and runner in RUNNERS:
                if isinstance(first, ast.List) and first.elts:
                    first = first.elts[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value, f"{path.relative_to(ROOT)}:{node.lineno}"
            case _:
                pass


def test_every_program_is_in_a_package_that_is_named() -> None:
    """Add a new one to the table above, and its package to tools/doctor.sh."""
    doctor = (ROOT / "tools" / "doctor.sh").read_text()
    found = [
        one
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for one in programs(path)
        if "/" not in one[0]
    ]
    known = {
        *ESSENTIAL,
        *OTHERS,
        *(name for name, package in PACKAGES.items() if package in doctor),
    }

    assert len(found) > 10
    assert [one for one in found if one[0].split()[0] not in known] == []
