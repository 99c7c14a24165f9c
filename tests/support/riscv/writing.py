"""What a guest writes to its disk, and what a host finds there afterwards."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.guest import Guest

MEBIBYTES = 32
HELLO = "hello from the host\n"
STEPS = (
    "grep -q ' /mnt ' /proc/mounts || mount -t ext4 /dev/vda /mnt; rm -rf /mnt/tree /mnt/sums",
    "cat /mnt/hello.txt",
    "mkdir -p /mnt/tree/deep/er",
    "for i in 0 1 2 3 4 5 6 7 8 9; do echo file $i > /mnt/tree/deep/er/$i.txt; done",
    "dd if=/bin/busybox of=/mnt/tree/busybox bs=4096 2>/dev/null",
    "ln -s deep/er/3.txt /mnt/tree/three; ln /mnt/tree/busybox /mnt/tree/again",
    "rm /mnt/tree/deep/er/9.txt; mv /mnt/tree/deep/er/8.txt /mnt/tree/eight.txt",
    # Mounted again, everything is read from the disk.
    "umount /mnt; mount -t ext4 /dev/vda /mnt",
    "cd /mnt/tree; find . -type f | sort | xargs sha256sum > /mnt/sums; cd /",
    "umount /mnt; mount -t ext4 /dev/vda /mnt",
    "cd /mnt/tree; sha256sum -c -s /mnt/sums; r=$?; cd /; umount /mnt; (exit $r)",
)
"""Commands for the guest's shell; each must succeed. They begin with the disk mounted or not."""


def make_disk(image: Path, mebibytes: int = MEBIBYTES, *files: Path) -> None:
    """Make an ext4 image with hello.txt, and copies of files beside it.

    Errors: subprocess.CalledProcessError.
    """
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        (Path(folder) / "hello.txt").write_text(HELLO)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-d", folder, image, f"{mebibytes}M"],
            check=True,
            capture_output=True,
            timeout=60,
        )


def write_files(guest: Guest) -> None:
    """Write files, mount again, check them, unmount. Errors: GuestError; GuestTimeout."""
    for step in STEPS:
        guest.run(step)


def fsck(image: Path) -> tuple[int, str]:
    """Check an image without writing to it; returns the status of e2fsck and what it said."""
    ran = subprocess.run(
        ["e2fsck", "-fn", image], capture_output=True, text=True, timeout=60, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def content(image: Path) -> dict[str, str]:
    """Read a file system with debugfs: SHA-256 of each file, target of each link, by path.

    Errors: subprocess.CalledProcessError.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["debugfs", "-R", f"rdump / {folder}", image],
            check=True,
            capture_output=True,
            timeout=60,
        )
        return {
            str(path.relative_to(folder)): _digest(path)
            for path in sorted(Path(folder).rglob("*"))
            if path.is_symlink() or path.is_file()
        }


def read_file(image: Path, path: str) -> bytes:
    """Read a file of a file system with debugfs. Errors: LookupError when it is not there."""
    ran = subprocess.run(
        ["debugfs", "-R", f"cat /{path}", image], check=True, capture_output=True, timeout=60
    )
    if b"File not found" in ran.stderr:
        raise LookupError(f"{image} has no file /{path}")
    return ran.stdout


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest()
