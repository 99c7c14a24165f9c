"""An image is locked beside QEMU's tools, in their manner, both ways round."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from virtmesh_native import BlkDevice

from virtmesh_common.blk.errors import ImageLocked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not (shutil.which("qemu-io") and shutil.which("qemu-storage-daemon")),
    reason="needs qemu-io and qemu-storage-daemon",
)

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make an image of 1 MiB of zeroes."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(MIB))
    return path


def qemu_io(image: Path, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one command of qemu-io."""
    return subprocess.run(
        ["qemu-io", "-f", "raw", *options, "-c", command, image],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def is_refused(ran: subprocess.CompletedProcess[str]) -> bool:
    """Say whether QEMU found the image in use; any other failure is one of the test."""
    said = ran.stdout + ran.stderr
    refused = "Is another process using the image" in said
    assert refused or ran.returncode == 0, said
    return refused


@contextmanager
def opened(image: Path, *, read_only: bool = False) -> Iterator[BlkDevice]:
    """Have the image open as a disk."""
    disk = BlkDevice(str(image), read_only=read_only)
    try:
        yield disk
    finally:
        disk.close()


@contextmanager
def held_by_qemu(image: Path, *, writes: bool) -> Iterator[int]:
    """Have qemu-storage-daemon export the image to a guest; the value is its pid."""
    flag, writable = ("off", "on") if writes else ("on", "off")
    export = f"type=vhost-user-blk,addr.type=unix,addr.path={image}.sock"
    pid_file = image.with_suffix(".pid")
    # It returns when the daemon is ready.
    subprocess.run(
        [
            "qemu-storage-daemon",
            "--daemonize",
            f"--pidfile={pid_file}",
            f"--blockdev=driver=file,node-name=file,filename={image},read-only={flag}",
            f"--blockdev=driver=raw,node-name=disk,file=file,read-only={flag}",
            f"--export={export},id=export,node-name=disk,writable={writable}",
        ],
        check=True,
        timeout=30,
    )
    pid = int(pid_file.read_text())
    handle = os.pidfd_open(pid)
    try:
        yield pid
    finally:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        select.select([handle], [], [], 30)
        os.close(handle)


def test_qemu_writes_to_no_image_that_is_served(image: Path) -> None:
    """It finds the lock, and the bytes stay."""
    with opened(image):
        assert is_refused(qemu_io(image, "write -P 0x5a 0 4096"))
    assert image.read_bytes() == bytes(MIB)
    assert not is_refused(qemu_io(image, "write -P 0x5a 0 4096"))


def test_qemu_writes_to_no_image_that_is_served_read_only(image: Path) -> None:
    """A reader's disk must not change; another reader does not change it."""
    with opened(image, read_only=True):
        assert is_refused(qemu_io(image, "write -P 0x5a 0 4096"))
        assert not is_refused(qemu_io(image, "read 0 4096", "-r"))
    assert image.read_bytes() == bytes(MIB)


def test_an_image_that_qemu_writes_to_is_not_served(image: Path) -> None:
    """The error names the process and what to do."""
    with held_by_qemu(image, writes=True) as pid:
        for read_only in (False, True):
            words = rf"disk\.img: in use by qemu-storage.* \(pid {pid}\): stop it, or use a copy"
            with pytest.raises(ImageLocked, match=words):
                BlkDevice(str(image), read_only=read_only)
    with opened(image):
        pass


def test_readers_share_as_those_of_qemu_do(image: Path) -> None:
    """QEMU's read-only export stands beside a reader; a writer is refused as QEMU's writer is."""
    with held_by_qemu(image, writes=False):
        with opened(image, read_only=True):
            pass
        assert not is_refused(qemu_io(image, "read 0 4096", "-r"))
        refused = is_refused(qemu_io(image, "write -P 0 0 512"))
        try:
            with opened(image):
                assert not refused
        except ImageLocked:
            assert refused


def test_looking_at_an_image_that_is_served_is_allowed(image: Path) -> None:
    """As with a disk of QEMU: the raw format has no metadata that could be half-written."""
    with opened(image):
        told = subprocess.run(
            ["qemu-img", "info", "-f", "raw", image], capture_output=True, timeout=30, check=False
        )
        assert told.returncode == 0, told.stderr


def test_the_locks_stay_when_another_descriptor_of_the_image_is_closed(image: Path) -> None:
    """They belong to the open file: with POSIX locks, any close in the process would end them."""
    with opened(image):
        os.close(os.open(image, os.O_RDWR))
        assert is_refused(qemu_io(image, "write 0 512"))


def test_the_locks_end_with_the_disk_though_a_child_was_started(image: Path) -> None:
    """The descriptor is closed in programs that are started meanwhile."""
    with opened(image):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        assert not is_refused(qemu_io(image, "write 0 512"))
    finally:
        child.communicate(timeout=30)


def test_two_paths_of_one_image_are_one_image(image: Path, tmp_path: Path) -> None:
    """Hard and symbolic links are found by the file that they lead to."""
    hard, soft = tmp_path / "hard.img", tmp_path / "soft.img"
    hard.hardlink_to(image)
    soft.symlink_to(image)
    with opened(image):
        for other in (hard, soft):
            with pytest.raises(ImageLocked, match=rf"pid {os.getpid()}"):
                BlkDevice(str(other))
