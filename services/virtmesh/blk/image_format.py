"""Formats of images that are no raw disks: recognised before a disk is served, and refused.

What is served is always raw; nothing is probed while a guest can write it. A container that is
served as raw would lose its content with the first write, and its guest would see the header of a
file instead of a disk. Signatures are those of the formats' specifications and of QEMU's drivers.

LUKS, ISO 9660, tar and file systems are not here: they are what a raw disk may hold.
"""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.blk.errors import NotRaw

if TYPE_CHECKING:
    from pathlib import Path

RAW = "raw"
"""The only format that is served."""
HEAD = 4096
"""Bytes at the beginning that are looked at."""
FOOTER = 512
"""Size of the trailers of VHD and of Apple's disk images; old VHDs have one of 511 bytes."""


@dataclass(frozen=True)
class Container:
    """A format: its name, where its signature is, and the command that makes a raw image of it.

    `offset` counts from the beginning, or from the end if it is negative. `command` has `{image}`
    and `{raw}` for the quoted paths.
    """

    name: str
    signature: bytes
    command: str
    offset: int = 0


def _by_qemu(driver: str) -> str:
    """Return the command for a format that QEMU reads."""
    return f"qemu-img convert -f {driver} -O raw {{image}} {{raw}}"


CONTAINERS = (
    Container("qcow", b"QFI\xfb\0\0\0\1", _by_qemu("qcow")),
    Container("qcow2", b"QFI\xfb", _by_qemu("qcow2")),
    Container("QED", b"QED\0", _by_qemu("qed")),
    Container("VMDK", b"KDMV", _by_qemu("vmdk")),
    Container("VMDK", b"COWD", _by_qemu("vmdk")),
    Container("VMDK", b"# Disk DescriptorFile", _by_qemu("vmdk")),
    Container("VHD", b"conectix", _by_qemu("vpc")),
    Container("VHD", b"conectix", _by_qemu("vpc"), -FOOTER),
    Container("VHD", b"conectix", _by_qemu("vpc"), -FOOTER + 1),
    Container("VHDX", b"vhdxfile", _by_qemu("vhdx")),
    Container("VDI", b"\x7f\x10\xda\xbe", _by_qemu("vdi"), 0x40),
    Container("Parallels", b"WithoutFreeSpace", _by_qemu("parallels")),
    Container("Parallels", b"WithouFreSpacExt", _by_qemu("parallels")),
    Container("Bochs", b"Bochs Virtual HD Image", _by_qemu("bochs")),
    Container("cloop", b"#!/bin/sh\n#V2.0 Format\n", _by_qemu("cloop")),
    Container("Apple disk image", b"koly", _by_qemu("dmg"), -FOOTER),
    Container("user-mode Linux COW", b"OOOM", "uml_moo {image} {raw}"),
    Container("Android sparse", b"\x3a\xff\x26\xed", "simg2img {image} {raw}"),
    Container("gzip", b"\x1f\x8b\x08", "gzip -dc {image} > {raw}"),
    Container("xz", b"\xfd7zXZ\0", "xz -dc {image} > {raw}"),
    Container("zstd", b"\x28\xb5\x2f\xfd", "zstd -dc {image} > {raw}"),
    Container("bzip2", b"BZh91AY&SY", "bzip2 -dc {image} > {raw}"),
    Container("lz4", b"\x04\x22\x4d\x18", "lz4 -dc {image} > {raw}"),
    Container("zip", b"PK\3\4", "unzip -p {image} > {raw}"),
    Container("7z", b"7z\xbc\xaf\x27\x1c", "7z x -so {image} > {raw}"),
)
"""Every format that is refused. The first whose signature is there names an image."""


def refuse_containers(path: Path) -> None:
    """Refuse an image that is in a format of its own. What can't be read is passed over.

    Errors: NotRaw, with the command that makes a raw image of it.
    """
    found = find_container(path)
    if found is None:
        return
    raw = path.with_name(f"{path.stem}.raw")
    if raw == path:
        raw = path.with_name(f"{path.name}.raw")
    command = found.command.format(image=_quote(path), raw=_quote(raw))
    raise NotRaw(
        f"{path}: a {found.name} image, and only raw ones are served: writing to it as it is would"
        f" destroy it. Make a raw image with `{command}`; if this is a raw disk that only looks so,"
        " say format=raw",
        format=found.name,
    )


def find_container(path: Path) -> Container | None:
    """Return the format that an image is in; None for what may be raw or can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None  # Whoever opens it says why.
    try:
        return _find_container(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _find_container(descriptor: int) -> Container | None:
    """Look for the signatures in an open image. Errors: OSError."""
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        return None
    size = os.lseek(descriptor, 0, os.SEEK_END)
    head = os.pread(descriptor, HEAD, 0)
    # The trailer counts for files only: what ends a partition is not the end of a file.
    tail = os.pread(descriptor, FOOTER, size - FOOTER) if size >= FOOTER else b""
    tail = tail if stat.S_ISREG(mode) else b""

    def has(one: Container) -> bool:
        if one.offset >= 0:
            return head.startswith(one.signature, one.offset)
        return len(tail) == FOOTER and tail.startswith(one.signature, FOOTER + one.offset)

    return next((one for one in CONTAINERS if has(one)), None)


def _quote(path: Path) -> str:
    """Quote a path for a shell; one that begins with a dash is no option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
