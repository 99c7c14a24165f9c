"""Images in RAM: firmware, kernel, initial RAM disk and device tree, none over another."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.elf import ElfFile
from virtmesh.cpu.images.layout import FW_DYNAMIC_INFO, ImagePaths, Layout, Ram, make_layout
from virtmesh_common.cpu.errors import BadImage

if TYPE_CHECKING:
    from pathlib import Path

BASE = 0x8000_0000
RAM = Ram(BASE, 64 << 20)
TREE = b"\xd0\x0d\xfe\xed" + bytes(100)


def linux_image(size: int = 0x1000, needs: int = 0x3000, flags: int = 0) -> bytes:
    """Make a file with the header of a Linux image."""
    header = struct.pack("<IIQQQIIQQII", 0, 0, 0x20_0000, needs, flags, 2, 0, 0, 0, 0x0543_5352, 0)
    return header.ljust(size, b"\x5a")


def lay_out(folder: Path, **contents: bytes) -> Layout:
    """Write images and place them."""
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    return make_layout(RAM, ImagePaths(**paths), lambda _initrd: TREE)


def pieces(layout: Layout) -> dict[str, int]:
    """Return the addresses of the pieces by the second word of their names."""
    return {piece.name.split()[1]: piece.address for piece in layout.pieces}


def test_linux_runs_behind_its_firmware(tmp_path: Path) -> None:
    """The CPU begins at the firmware, which finds the kernel and the tree by its arguments."""
    layout = lay_out(tmp_path, kernel=linux_image(), firmware=b"fw", initrd=b"disk")

    at = pieces(layout)
    assert (at["firmware"], at["kernel"]) == (BASE, BASE + 0x20_0000)
    assert at["kernel"] < at["initrd"] < at["device"]
    assert layout.registers["pc"] == BASE
    assert (layout.registers["x10"], layout.registers["x11"]) == (0, at["device"])
    info = next(one for one in layout.pieces if one.address == layout.registers["x12"])
    assert FW_DYNAMIC_INFO.unpack(info.data) == (0x4942_534F, 2, BASE + 0x20_0000, 1, 0, 0)


def test_the_memory_that_an_image_needs_beyond_its_file_is_its_own(tmp_path: Path) -> None:
    """Linux clears it: nothing else may be there."""
    layout = lay_out(tmp_path, kernel=linux_image(needs=0x5000), firmware=b"fw")

    kernel = next(one for one in layout.pieces if one.name.startswith("the kernel"))
    assert (len(kernel.data), kernel.size) == (0x1000, 0x5000)


def test_a_packed_kernel_is_unpacked(tmp_path: Path) -> None:
    """Distributions pack theirs."""
    layout = lay_out(tmp_path, kernel=gzip.compress(linux_image()), firmware=b"fw")

    assert (
        next(one for one in layout.pieces if one.name.startswith("the kernel")).data
        == linux_image()
    )


def test_an_elf_file_runs_where_it_is_linked(tmp_path: Path) -> None:
    """Without firmware it is the first to run, in machine mode."""
    file = ElfFile(entry=BASE + 4, segments=[(BASE, bytes(8), 0x100)])

    layout = lay_out(tmp_path, kernel=file.encode())

    assert layout.registers["pc"] == BASE + 4


def test_a_raw_image_begins_with_ram(tmp_path: Path) -> None:
    """And behind the firmware, if there is one."""
    alone = lay_out(tmp_path, kernel=b"\x13\0\0\0")
    behind = lay_out(tmp_path, kernel=b"\x13\0\0\0", firmware=b"fw")

    assert pieces(alone)["kernel"] == BASE
    assert pieces(behind)["kernel"] == BASE + 0x20_0000


def test_the_tree_is_told_where_the_initrd_is(tmp_path: Path) -> None:
    """Begin and end, in RAM, behind the kernel."""
    told: list[tuple[int, int] | None] = []
    (tmp_path / "kernel").write_bytes(b"code")
    (tmp_path / "initrd").write_bytes(bytes(5000))

    def make_tree(initrd: tuple[int, int] | None) -> bytes:
        told.append(initrd)
        return TREE

    make_layout(RAM, ImagePaths(tmp_path / "kernel", initrd=tmp_path / "initrd"), make_tree)

    assert told[0] is not None
    begin, end = told[0]
    assert end - begin == 5000
    assert begin % 4096 == 0


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"kernel": linux_image()}, "supervisor mode: add --firmware"),
        ({"kernel": linux_image(flags=1), "firmware": b"fw"}, "big-endian"),
        ({"kernel": b""}, "the file is empty"),
        ({"kernel": gzip.compress(b"abc")[:-9]}, "gzip file ends too early|damaged"),
        ({"kernel": b"k", "firmware": bytes(0x20_0001)}, "overlap"),
        ({"kernel": b"k", "initrd": bytes((64 << 20) - 8)}, "initrd .* needs"),
        ({"kernel": b"k", "initrd": bytes(62 << 20)}, "overlap|needs"),
        ({"kernel": linux_image(needs=1 << 30), "firmware": b"fw"}, "and RAM is"),
        (
            {"kernel": ElfFile(entry=0x1000, segments=[(0x1000, b"code", 4)]).encode()},
            "needs 0x1000 to 0x1004, and RAM is",
        ),
        (
            {"kernel": ElfFile(segments=[(BASE, bytes(8), 64), (BASE + 32, b"x", 1)]).encode()},
            "segment 0.*segment 1.*overlap",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, contents: dict[str, bytes], message: str
) -> None:
    """Before anything is loaded, with both places where two things want to be."""
    with pytest.raises(BadImage, match=message):
        lay_out(tmp_path, **contents)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the reason of the system."""
    with pytest.raises(BadImage, match=r"nothing: can't be read: No such file"):
        make_layout(RAM, ImagePaths(tmp_path / "nothing"), lambda _initrd: TREE)


def test_a_device_is_no_image(tmp_path: Path) -> None:
    """It might never end."""
    (tmp_path / "kernel").symlink_to("/dev/zero")

    with pytest.raises(BadImage, match="no ordinary file"):
        make_layout(RAM, ImagePaths(tmp_path / "kernel"), lambda _initrd: TREE)
