"""Image files are read within bounds, whatever lies at their path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from virtmesh.cpu.images.read import read_image
from virtmesh_common.cpu.errors import BadImage

BEYOND_ALL_MEMORY = 1 << 62


def test_a_small_file_takes_no_more_memory_than_it_needs(tmp_path: Path) -> None:
    """The limit follows from the RAM of the guest, and may be far more than this host has."""
    image = tmp_path / "kernel"
    image.write_bytes(b"kernel")

    assert read_image(image, BEYOND_ALL_MEMORY) == b"kernel"


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """One byte is enough."""
    image = tmp_path / "kernel"
    image.write_bytes(bytes((1 << 20) + 1))

    assert len(read_image(image, (1 << 20) + 1)) == (1 << 20) + 1
    with pytest.raises(BadImage, match="larger than 1 MiB: give the machine more memory"):
        read_image(image, 1 << 20)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe that nobody writes to makes nobody wait."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(BadImage, match="no ordinary file"):
        read_image(pipe, 1 << 20)
    with pytest.raises(BadImage, match="no ordinary file"):
        read_image(Path("/dev/zero"), 1 << 20)
    with pytest.raises(BadImage, match="can't be read: Is a directory"):
        read_image(tmp_path, 1 << 20)
