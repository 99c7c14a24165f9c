"""Formats of images that are no raw disks, by their signatures.

The signatures are those of the formats' specifications and of QEMU's drivers. LUKS, ISO 9660, tar
and file systems are not here: they are what a raw disk may hold.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 4096
"""Bytes at the beginning that are looked at."""
FOOTER = 512
"""Bytes at the end: trailers of VHD and of Apple's images. Old VHDs have one of 511 bytes."""


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

    def spell_command(self, image: Path) -> str:
        """Return the command that makes a raw image beside this one."""
        raw = image.with_name(f"{image.stem}.raw")
        if raw == image:
            raw = image.with_name(f"{image.name}.raw")
        return self.command.format(image=_quote(image), raw=_quote(raw))


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


def find_container(head: bytes, tail: bytes) -> Container | None:
    """Return the format of an image with these first and last bytes; None for what may be raw.

    `head` has up to HEAD bytes, `tail` up to FOOTER; it is empty for what has no end of its own.
    """

    def has(one: Container) -> bool:
        if one.offset >= 0:
            return head.startswith(one.signature, one.offset)
        return len(tail) == FOOTER and tail.startswith(one.signature, FOOTER + one.offset)

    return next((one for one in CONTAINERS if has(one)), None)


def _quote(path: Path) -> str:
    """Quote a path for a shell; one that begins with a dash is no option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
