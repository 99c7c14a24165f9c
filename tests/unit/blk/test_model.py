"""The disk's model: features, configuration, options, and images that can't be used."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from virtmesh.blk.image import add_hint, create_image
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.blk.options import make
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BadSize, ImageDenied, ImageError, ImageLocked, ImageNotFound
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.registers import Register
from virtmesh_common.virtio.features import Feature

MIB = 1 << 20
DEFAULTS = {field.name: field.default for field in fields(BlkOptions)} | {"seg_max": None}


def make_disk(image: Path, **options: object) -> None:
    """Make a disk as the command line does, and close it."""
    given: dict[str, Any] = {**DEFAULTS, "size": None, "image": image, **options}
    make("vda", **given).close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make an image of 64 MiB, sparse."""
    path = tmp_path / "disk.img"
    create_image(path, 64 * MIB)
    return path


def test_offered_features(image: Path) -> None:
    """A writable disk offers all but RO; FLUSH comes with CONFIG_WCE (5.2.5.2)."""
    model = BlkModel("vda", BlkOptions(image))
    features = model.device_features
    model.close()
    assert not features & BlkFeature.VIRTIO_BLK_F_RO
    for feature in (
        BlkFeature.VIRTIO_BLK_F_FLUSH,
        BlkFeature.VIRTIO_BLK_F_CONFIG_WCE,
        BlkFeature.VIRTIO_BLK_F_DISCARD,
        BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
        BlkFeature.VIRTIO_BLK_F_MQ,
        Feature.VIRTIO_F_VERSION_1,
        Feature.VIRTIO_F_RING_RESET,
    ):
        assert features & feature


def test_a_read_only_disk(image: Path) -> None:
    """It offers RO, and nothing that writes."""
    model = BlkModel("vda", BlkOptions(image, read_only=True))
    features = model.device_features
    model.close()
    assert features & BlkFeature.VIRTIO_BLK_F_RO
    assert not features & (BlkFeature.VIRTIO_BLK_F_DISCARD | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES)


def test_a_disk_without_some_features(image: Path) -> None:
    """What is left out is not offered; the rest is."""
    without = Feature.VIRTIO_F_RING_PACKED | BlkFeature.VIRTIO_BLK_F_DISCARD
    whole = BlkModel("vda", BlkOptions(image))
    offered = whole.device_features
    whole.close()

    less = BlkModel("vda", BlkOptions(image, without=without))
    features = less.device_features
    less.close()

    assert features == offered & ~without


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (blk.CAPACITY, 64 * MIB // 512),
        (blk.SIZE_MAX, MIB),
        (blk.SEG_MAX, 126),
        (blk.CYLINDERS, 130),
        (blk.HEADS, 16),
        (blk.SECTORS, 63),
        (blk.BLK_SIZE, 512),
        (blk.PHYSICAL_BLOCK_EXP, 3),
        (blk.MIN_IO_SIZE, 8),
        (blk.NUM_QUEUES, 3),
        (blk.UNUSED0, 0),
        (blk.UNUSED1, 0),
        (blk.WRITE_ZEROES_MAY_UNMAP, 1),
    ],
)
def test_configuration(image: Path, field: Register, value: int) -> None:
    """Each field says what the disk is (5.2.4)."""
    model = BlkModel("vda", BlkOptions(image, queues=3))
    found = model.read_config(field)
    model.close()
    assert found == value


def test_the_layout_has_no_holes() -> None:
    """The fields follow one another as in struct virtio_blk_config (5.2.4)."""
    offset = 0x100
    for field in blk.CONFIG:
        assert field.offset == offset
        offset += field.size
    assert offset == 0x100 + 60


def test_capacity_and_generation_move_together(image: Path) -> None:
    """A driver reads the capacity in halves: a new half never comes with the old generation."""
    model = BlkModel("vda", BlkOptions(image))
    cylinders = model.read_config(blk.CYLINDERS)
    seen = [(model.config_generation, model.read_config(blk.CAPACITY))]
    model.resize(128 * MIB, allow_shrink=False)
    seen.append((model.config_generation, model.read_config(blk.CAPACITY)))
    assert model.read_config(blk.CYLINDERS) == cylinders
    model.announce_change()
    seen.append((model.config_generation, model.read_config(blk.CAPACITY)))
    assert model.read_config(blk.CYLINDERS) > cylinders
    model.close()
    before, after = 64 * MIB // blk.SECTOR, 128 * MIB // blk.SECTOR
    assert seen == [(0, before), (0, before), (1, after)]


def test_the_geometry_of_a_large_disk_is_capped(tmp_path: Path) -> None:
    """More cylinders than ATA can say are not said."""
    path = tmp_path / "large.img"
    create_image(path, 1 << 40)
    model = BlkModel("vda", BlkOptions(path))
    cylinders = model.read_config(blk.CYLINDERS)
    model.close()
    assert cylinders == 16383


@pytest.mark.parametrize(
    ("features", "write_back"),
    [
        (BlkFeature.VIRTIO_BLK_F_FLUSH, True),
        (BlkFeature.VIRTIO_BLK_F_FLUSH | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE, True),
        (BlkFeature.VIRTIO_BLK_F_CONFIG_WCE, False),
        (BlkFeature(0), False),
    ],
)
def test_cache_mode_by_features(image: Path, features: BlkFeature, *, write_back: bool) -> None:
    """A driver that can't flush gets write-through (5.2.6.2)."""
    model = BlkModel("vda", BlkOptions(image))
    model.negotiate(features | Feature.VIRTIO_F_VERSION_1)
    found = model.disk.write_back
    model.reset()
    after_reset = model.disk.write_back
    model.close()
    assert (found, after_reset) == (write_back, True)


def test_a_missing_image(tmp_path: Path) -> None:
    """The error says how to make one."""
    path = tmp_path / "none.img"
    with pytest.raises(ImageNotFound, match="no such image: create one with --size 64M"):
        make_disk(path)


def test_a_missing_image_is_made_sparse(tmp_path: Path) -> None:
    """--size makes it, and leaves one that is there alone."""
    path = tmp_path / "new.img"
    make_disk(path, size=MIB)
    assert (path.stat().st_size, path.stat().st_blocks) == (MIB, 0)
    make_disk(path, size=2 * MIB)
    assert path.stat().st_size == MIB


@pytest.mark.parametrize(
    ("size", "words"),
    [(1000, r"1000 bytes is not a multiple of 512 bytes: .*truncate -s %512"), (0, "is empty")],
)
def test_images_of_bad_sizes(tmp_path: Path, size: int, words: str) -> None:
    """The error says how to mend it."""
    path = tmp_path / "odd.img"
    path.write_bytes(bytes(size))
    with pytest.raises(BadSize, match=words):
        make_disk(path)


def test_a_locked_image(image: Path) -> None:
    """Two devices never write to one image."""
    with image.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ImageLocked, match=r"in use by .+ \(pid \d+\)"):
            make_disk(image)


def test_two_readers_of_one_image(image: Path) -> None:
    """Read-only disks can share."""
    model = BlkModel("vda", BlkOptions(image, read_only=True))
    make_disk(image, read_only=True)
    model.close()


def test_what_is_no_image(tmp_path: Path) -> None:
    """Folders and pipes are refused at once, never waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ImageError, match="no image"):
            make_disk(path)


def test_creating_where_no_folder_is(tmp_path: Path) -> None:
    """The error names the folder."""
    with pytest.raises(ImageNotFound, match=r"create .*/none"):
        make_disk(tmp_path / "none" / "disk.img", size=MIB)


def test_creating_with_a_bad_size(tmp_path: Path) -> None:
    """Nothing is made."""
    path = tmp_path / "odd.img"
    with pytest.raises(BadSize):
        make_disk(path, size=1000)
    assert not path.exists()


def test_an_image_that_its_disk_would_refuse_is_not_created(tmp_path: Path) -> None:
    """A size that is no multiple of the block size leaves no file behind to stumble over."""
    path = tmp_path / "disk.img"
    with pytest.raises(BadSize, match="4096"):
        make_disk(path, size=4096 + 512, block_size=4096)
    assert not path.exists()
    make_disk(path, size=8192, block_size=4096)
    assert path.stat().st_size == 8192


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let this process make files of 1 MiB at most: tmpfs itself takes any size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_creating_what_the_file_system_can_not_hold(tmp_path: Path) -> None:
    """Nothing is left behind. One byte less is what tmpfs takes."""
    path = tmp_path / "huge.img"
    with pytest.raises(VirtmeshError, match="can't have 2097152 bytes"):
        make_disk(path, size=1 << 21)
    assert not path.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"queue_size": 100},
        {"block_size": 1000},
        {"block_size": 256},
        {"block_size": 1 << 17},
        {"size_max": 0},
        {"size_max": 1000},
        {"seg_max": 255},
        {"serial": "x" * 21},
        {"serial": "ä"},
        {"serial": "a\nb"},
        {"without": int(BlkFeature.VIRTIO_BLK_F_FLUSH)},
    ],
)
def test_options_that_make_no_sense(image: Path, options: dict[str, object]) -> None:
    """They are refused as wrong usage, before the image is touched."""
    with pytest.raises(click.BadParameter):
        make_disk(image, **options)


def test_permission_denied_names_both_ways_out(image: Path) -> None:
    """Whoever may only read can have a read-only disk."""
    mended = add_hint(ImageDenied("denied"), image, 512)
    assert isinstance(mended, ImageDenied)
    assert "--read-only" in mended.message
