"""Images that are no plain files: links, pipes, device nodes. None keeps a start waiting."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lingering import SOON
from virtmesh.blk.image import create_image
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh_common.blk.errors import ImageDenied, ImageError
from virtmesh_common.errors import VirtmeshError

MIB = 1 << 20


def pipe(path: Path) -> None:
    """Make a pipe that nobody opens."""
    os.mkfifo(path)


def link_to_pipe(path: Path) -> None:
    """Make a link to one."""
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def link_to_nothing(path: Path) -> None:
    """Make a link that leads nowhere."""
    path.symlink_to("nothing")


def link_to_itself(path: Path) -> None:
    """Make a link that leads to itself."""
    path.symlink_to(path.name)


def link_to_device(path: Path) -> None:
    """Make a link to a character device."""
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    """Make a folder."""
    path.mkdir()


@pytest.mark.parametrize(
    "make", [pipe, link_to_pipe, link_to_nothing, link_to_itself, link_to_device, folder]
)
def test_what_is_no_image_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Opened, it would wait, or be no disk."""
    path = tmp_path / "disk.img"
    make(path)
    outcome: list[BaseException | None] = []

    def open_it() -> None:
        try:
            create_image(path, MIB)
            BlkModel("vda", BlkOptions(path)).close()
            outcome.append(None)
        except VirtmeshError as error:
            outcome.append(error)

    thread = threading.Thread(target=open_it, daemon=True)
    thread.start()
    thread.join(SOON)
    assert len(outcome) == 1
    assert isinstance(outcome[0], ImageError)
    assert str(path) in str(outcome[0])


def test_a_link_to_an_image_is_one(tmp_path: Path) -> None:
    """It is locked as the file is that it leads to."""
    image, link = tmp_path / "disk.img", tmp_path / "link.img"
    create_image(image, MIB)
    link.symlink_to(image.name)
    served = BlkModel("vda", BlkOptions(link))
    with pytest.raises(VirtmeshError, match="use"):
        BlkModel("vdb", BlkOptions(image))
    served.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system: needs root")
def test_a_read_only_file_system_has_read_only_disks(tmp_path: Path) -> None:
    """Others are refused with the option that is missing, and no image is made there."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        image = tmp_path / "disk.img"
        create_image(image, MIB)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(ImageError, match="can't be created: Read-only file system"):
            create_image(tmp_path / "new.img", MIB)
        with pytest.raises(ImageDenied, match=r"Read-only file system .* use it read-only"):
            BlkModel("vda", BlkOptions(image))
        BlkModel("vda", BlkOptions(image, read_only=True)).close()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
