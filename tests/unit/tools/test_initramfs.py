"""The initramfs of the riscv64 guest: what cpio reads from it, and modules in their order."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.riscv import initramfs
from tools.riscv.initramfs import SIGNED, Archive, Missing, Modules

SIGNATURE = bytes(8) + (4).to_bytes(4, "big")


def module(depends: str, *, soft: str = "") -> bytes:
    """Return what a module's file has of use here: the texts of its .modinfo."""
    texts = [f"depends={depends}", f"softdep=pre: {soft}" if soft else "", "name=any"]
    return b"\x7fELF\0" + b"".join(text.encode() + b"\0" for text in texts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a kernel's modules: one compressed, one signed, one with a dash in its name."""
    drivers = tmp_path / "kernel/drivers"
    drivers.mkdir(parents=True)
    (drivers / "top.ko.xz").write_bytes(lzma.compress(module("middle-one,built", soft="soft")))
    (drivers / "middle-one.ko").write_bytes(module("base") + b"sign" + SIGNATURE + SIGNED)
    (drivers / "base.ko").write_bytes(module(""))
    (drivers / "soft.ko").write_bytes(module(""))
    (tmp_path / "modules.builtin").write_text("kernel/built.ko\n")
    return tmp_path


def test_modules_follow_what_they_depend_on(folder: Path) -> None:
    """Each stands once, soft dependencies included; what is built in is left out."""
    found = Modules(folder).ordered(["top", "base", "built"])

    assert list(found) == ["base", "middle_one", "soft", "top"]


def test_signatures_are_cut_off(folder: Path) -> None:
    """The module is what was signed."""
    assert Modules(folder).load("middle_one") == module("base")


@pytest.mark.parametrize(
    "damaged",
    [SIGNED, b"x" + bytes(8) + (9).to_bytes(4, "big") + SIGNED],
    ids=["nothing else", "longer than the module"],
)
def test_a_damaged_signature_is_refused(damaged: bytes) -> None:
    """Its length is not believed."""
    with pytest.raises(Missing):
        initramfs.unsigned(damaged)


def test_a_module_that_the_kernel_lacks_is_named(folder: Path) -> None:
    """Neither a file nor built in."""
    with pytest.raises(Missing, match="no module absent"):
        Modules(folder).ordered(["absent"])


@pytest.mark.skipif(shutil.which("cpio") is None, reason="needs cpio")
def test_cpio_reads_the_archive() -> None:
    """Names, types, contents of any length, and the number of a device."""
    archive = Archive()
    archive.add("folder", 0o040755)
    archive.add("folder/odd", 0o100644, b"seven..")
    archive.add("null", 0o020666, device=(1, 3))

    listed = subprocess.run(
        ["cpio", "-itv", "--quiet"], input=archive.finish(), capture_output=True, check=True
    ).stdout.decode()

    assert [line.split()[-1] for line in listed.splitlines()] == ["folder", "folder/odd", "null"]
    assert [line[0] for line in listed.splitlines()] == ["d", "-", "c"]
    assert "1,   3" in listed


def test_the_guest_gets_its_init_and_the_order_of_its_modules(folder: Path, tmp_path: Path) -> None:
    """Made twice of the same, it is the same."""
    for name in initramfs.WANTED:
        (folder / f"kernel/{name}.ko").write_bytes(module(""))
    drm = folder / "kernel/drm.ko"
    drm.write_bytes(module(""))
    (folder / "kernel/virtio_gpu.ko").write_bytes(module("drm,virtio_mmio"))
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"busybox")

    made = initramfs.make(folder, busybox)

    assert made == initramfs.make(folder, busybox)
    assert initramfs.INIT.read_bytes() in made
    assert "".join(f"{name}\n" for name in initramfs.WANTED).encode() in made
    # What a GPU needs is loaded where there is one, without what is loaded already.
    assert b"modules/order.0x0010\0" in made
    assert b"drm\nvirtio_gpu\n" in made
