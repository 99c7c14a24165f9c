"""Images that are containers are refused before anything is written to them."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from virtmesh.blk.image_format import container_of
from virtmesh.blk.options import make
from virtmesh_common.blk.containers import CONTAINERS, FOOTER
from virtmesh_common.blk.errors import BadSize, ImageNotFound, NotRaw

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh.virtio.mmio_device import VirtioMmio
    from virtmesh_common.blk.containers import Container

MIB = 1 << 20
MADE_BY_QEMU = {
    "qcow2": ("qcow2", ""),
    "qcow2-v2": ("qcow2", "compat=0.10"),
    "qcow": ("qcow", ""),
    "qed": ("QED", ""),
    "vdi": ("VDI", ""),
    "vdi-static": ("VDI", "static=on"),
    "vmdk": ("VMDK", "subformat=monolithicSparse"),
    "vmdk-flat": ("VMDK", "subformat=monolithicFlat"),
    "vmdk-split": ("VMDK", "subformat=twoGbMaxExtentSparse"),
    "vmdk-stream": ("VMDK", "subformat=streamOptimized"),
    "vpc": ("VHD", "subformat=dynamic"),
    "vpc-fixed": ("VHD", "subformat=fixed"),
    "vhdx": ("VHDX", ""),
    "vhdx-fixed": ("VHDX", "subformat=fixed"),
    "parallels": ("Parallels", ""),
}
"""Images that qemu-img makes: what they are called here, and their options."""


def served(image: Path, **options: Any) -> VirtioMmio:
    """Make a disk of an image, as the command line does."""
    values: dict[str, Any] = {
        "queue_size": 256,
        "block_size": 512,
        "serial": "",
        "size_max": MIB,
        "seg_max": None,
        "without": 0,
    }
    return make("vda", image=image, **values | options)


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
@pytest.mark.parametrize("made", MADE_BY_QEMU)
def test_a_container_is_refused_and_the_command_mends_it(tmp_path: Path, made: str) -> None:
    """The message has the format and a command that makes a raw disk with the same content."""
    raw, content = tmp_path / "content", os.urandom(MIB)
    raw.write_bytes(content)
    name, options = MADE_BY_QEMU[made]
    image = tmp_path / "it's a disk.img"
    convert = ["qemu-img", "convert", "-f", "raw", "-O", made.partition("-")[0]]
    subprocess.run(
        [*convert, *(["-o", options] if options else []), raw, image], check=True, timeout=60
    )
    before = image.read_bytes()
    with pytest.raises(NotRaw, match=f"a {name} image, and only raw ones are served") as caught:
        served(image)
    assert "truncate" not in caught.value.message
    assert image.read_bytes() == before
    command = caught.value.message.split("`")[1]
    subprocess.run(["sh", "-c", command], check=True, timeout=60)
    assert (tmp_path / "it's a disk.raw").read_bytes()[:MIB] == content


def test_a_compressed_image_is_refused_with_its_unpacker(tmp_path: Path) -> None:
    """Qemu-img does not read it."""
    image = tmp_path / "disk.img.gz"
    image.write_bytes(gzip.compress(bytes(MIB)))
    with pytest.raises(NotRaw, match="a gzip image") as caught:
        served(image)
    command = caught.value.message.split("`")[1]
    subprocess.run(["sh", "-c", command], check=True, timeout=60)
    assert (tmp_path / "disk.img.raw").read_bytes() == bytes(MIB)


@pytest.mark.parametrize("one", CONTAINERS, ids=lambda one: f"{one.name}{one.offset}")
def test_every_signature_is_found_where_it_belongs(tmp_path: Path, one: Container) -> None:
    """At its offset, and nowhere else."""
    image, content = tmp_path / "disk.img", bytearray(8192)
    start = one.offset % len(content)
    content[start : start + len(one.signature)] = one.signature
    image.write_bytes(content)
    found = container_of(image)
    assert found is not None
    assert found.name == one.name
    image.write_bytes(bytes(FOOTER) + bytes(content) + bytes(FOOTER))
    assert container_of(image) is None


def test_what_a_raw_disk_may_hold_is_served(tmp_path: Path) -> None:
    """An encrypted disk, an archive, and nothing at all are disks like any other."""
    luks, tar, empty = tmp_path / "luks", tmp_path / "tar", tmp_path / "empty"
    # The beginning of a header of LUKS 1 (On-Disk Format Specification 1.2.3, 3.1).
    luks.write_bytes(b"LUKS\xba\xbe\0\1aes".ljust(MIB, b"\0"))
    subprocess.run(["tar", "cf", tar, "-C", tmp_path, "luks"], check=True, timeout=60)
    empty.write_bytes(bytes(MIB))
    for image in (luks, tar, empty):
        served(image).close()


def test_a_raw_disk_that_looks_like_a_container_is_served_when_it_is_said_to_be_raw(
    tmp_path: Path,
) -> None:
    """A guest may write any bytes to its disk; what is served is never probed."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"QFI\xfb\0\0\0\2" + bytes(MIB - 8))
    with pytest.raises(NotRaw, match="say format=raw"):
        served(image)
    disk = served(image, format="raw")
    assert disk.description.kind == "blk"
    disk.close()


def test_a_restart_after_a_crash_takes_the_image_as_it_is(tmp_path: Path) -> None:
    """Its guest may have written the bytes of a container, and the owner may have resized it."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"QFI\xfb\0\0\0\2" + bytes(MIB - 8))
    served(image, size=2 * MIB, resume=True).close()
    assert image.stat().st_size == MIB


def test_a_restart_after_a_crash_makes_no_new_image(tmp_path: Path) -> None:
    """An empty disk in the place of a lost one would look like data that was deleted."""
    image = tmp_path / "disk.img"
    with pytest.raises(ImageNotFound, match=r"the image is gone.*put it back"):
        served(image, size=MIB, resume=True)
    assert not image.exists()
    served(image, size=MIB).close()
    assert image.stat().st_size == MIB


def test_an_image_with_a_creation_mark_is_made_once(tmp_path: Path) -> None:
    """Docker starts a crashed service with the same command line; without the mark it is anew."""
    image, mark = tmp_path / "disk.img", tmp_path / "disk.made"
    served(image, size=MIB, creation_mark=mark).close()
    assert "does not make it again" in mark.read_text(encoding="utf-8")
    image.unlink()
    with pytest.raises(ImageNotFound, match=r"the image is gone.*disk\.made says"):
        served(image, size=MIB, creation_mark=mark)
    assert not image.exists()
    mark.unlink()
    served(image, size=MIB, creation_mark=mark).close()
    assert image.stat().st_size == MIB


def test_no_advice_to_enlarge_what_looks_like_a_container(tmp_path: Path) -> None:
    """`truncate` would only hide that it is none."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(100))
    with pytest.raises(BadSize, match="looks like a qcow2 image: convert it") as caught:
        served(image, format="raw")
    assert "truncate" not in caught.value.message
