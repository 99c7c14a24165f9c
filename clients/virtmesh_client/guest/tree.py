"""Make the files that a guest boots from: busybox, an init, modules and programs of this host."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_client.guest.modules import KernelModules
from virtmesh_client.guest.prerequisites import find_program
from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh_client.guest.prerequisites import GuestKernel

FOLDERS = ("bin", "dev", "etc", "lib64", "mnt", "modules", "proc", "root", "sbin", "sys", "tmp")
MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_input", "evdev", "crc32c_generic",
           "ext4", "button")  # fmt: skip
"""Modules that a guest loads, if its kernel has them as modules. ext4 needs crc32c by name.
The power button comes last, so that the machine's input devices are event0 and so on."""


def make_initramfs(
    file: Path, kernel: GuestKernel, programs: Sequence[Path], script: bytes | None = None
) -> None:
    """Write the initramfs of a guest. Errors: GuestError; GuestPartMissing; OSError.

    The script runs instead of /sbin/init if the kernel command line has `virtmesh_script`.
    """
    cpio = find_program("cpio", "cpio")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)
        _fill(tree, programs)
        _install("init.sh", tree / "init")
        if script is not None:
            _install("script.sh", tree / "sbin/script")
            (tree / "script").write_bytes(script)
        loaded = KernelModules(kernel.modules).load_order(MODULES)
        for number, (name, content) in enumerate(loaded.items()):
            (tree / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
        names = "\0".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*")))
        with file.open("wb") as out:
            subprocess.run(  # noqa: S603 - a program of the system
                [cpio, "--create", "--null", "--format=newc", "--owner=+0:+0", "--quiet"],
                cwd=tree,
                input=names.encode(),
                stdout=out,
                check=True,
            )


def make_image(file: Path, size: int, programs: Sequence[Path]) -> None:
    """Make a disk image with an ext4 root file system of `size` bytes.

    It contains busybox, and a shell as /sbin/init. An existing file is replaced at the end.
    Errors: GuestError if the files do not fit; GuestPartMissing; OSError.
    """
    mke2fs = find_program("mke2fs", "e2fsprogs")
    if file.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "this is a folder: give the path of a file", str(file)
        )
    if not file.parent.is_dir():
        message = "the folder does not exist: make it first"
        raise FileNotFoundError(errno.ENOENT, message, str(file.parent))
    made = file.with_name(f".{file.name}.{os.getpid()}")
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)
        _fill(tree, programs)
        try:
            done = subprocess.run(  # noqa: S603 - a program of the system
                [mke2fs, "-q", "-t", "ext4", "-d", tree, "-E", "root_owner=0:0", made,
                 f"{size >> 10}k"],
                capture_output=True,
                text=True,
                check=False,
            )  # fmt: skip
            if done.returncode:
                needed = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
                raise GuestError(
                    f"{file}: files of {needed >> 10} KiB do not fit into a file system of"
                    f" {size >> 10} KiB: choose a larger --size (mke2fs:"
                    f" {done.stderr.strip().splitlines()[-1]})"
                )
            made.replace(file)
        finally:
            made.unlink(missing_ok=True)


def _fill(tree: Path, programs: Iterable[Path]) -> None:
    """Add the files that every guest has to a tree."""
    for name in FOLDERS:
        (tree / name).mkdir()
    shutil.copy(find_program("busybox", "busybox-static"), tree / "bin/busybox")
    if libraries(tree / "bin/busybox"):
        raise GuestError(
            "the busybox of this host is not static, so it does not run in a guest: run apt-get"
            " install busybox-static"
        )
    _install("shell.sh", tree / "sbin/init")
    for program in programs:
        _copy(program, tree / "usr/bin" / program.name)
        for library in libraries(program):
            _copy(library, tree / library.relative_to("/"))


def _install(name: str, to: Path) -> None:
    """Copy a script of this package into a tree, executable."""
    to.write_bytes(resources.files(__package__).joinpath(name).read_bytes())
    to.chmod(0o755)


def _copy(source: Path, to: Path) -> None:
    """Copy a file; follow symbolic links."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, to)


def libraries(program: Path) -> list[Path]:
    """Return the shared libraries of a program, including the dynamic linker."""
    listed = subprocess.run(  # noqa: S603 - a program of the system
        [find_program("ldd", "libc-bin"), program], capture_output=True, text=True, check=False
    )
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", listed.stdout)]
