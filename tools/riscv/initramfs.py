"""Make the initramfs of the riscv64 guest: busybox, the modules of virtmesh's devices, an /init.

Usage: python initramfs.py MODULES BUSYBOX OUTPUT

MODULES is a kernel's folder of modules (lib/modules/VERSION of Debian's linux-image package),
BUSYBOX a static busybox for riscv64. It needs no root and nothing but Python: device nodes are
entries of the archive. The archive (cpio, "newc") is not compressed, as an emulated processor
unpacks slowly. Equal input makes equal bytes.

The modules' signatures are cut off: to check them takes an emulated processor longer than the rest
of the boot. The kernel notes that once ("tainting kernel") and goes on.
"""

from __future__ import annotations

import argparse
import lzma
import re
import stat
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INIT = Path(__file__).with_name("init.sh")
WANTED = ("virtio_mmio", "virtio_blk", "virtio_input", "evdev", "crc32c_generic", "ext4")
"""Modules that /init loads, in this order, each after what it depends on.

No list of a module says that ext4 computes its checksums with crc32c_generic.
"""
WANTED_BY_DEVICE = {16: ("virtio_gpu",)}
"""Modules that /init loads if the machine has a virtio device with this ID: they are large."""
SUFFIXES = (".ko", ".ko.xz")
SIGNED = b"~Module signature appended~\n"
SIGNATURE = struct.Struct(">8xI")
"""struct module_signature of the kernel: kinds and lengths that Debian has 0 in, then sig_len."""
DEPENDS = re.compile(rb"(?<![^\0])(?:depends=|softdep=pre: )([^\0]*)(?=\0)")
FOLDERS = ("bin", "dev", "etc", "mnt", "modules", "proc", "root", "run", "sys", "tmp")
CONSOLE = (5, 1)
"""Device number of /dev/console, which the kernel opens before /init has mounted anything."""
ALIGNMENT = 4


@dataclass
class Archive:
    """A cpio archive in the format "newc" (kernel: Documentation/driver-api/early-userspace)."""

    data: bytearray = field(default_factory=bytearray)
    entries: int = 0

    def add(
        self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        """Add an entry; `mode` has the type of the file and its permissions."""
        self.entries += 1
        raw = name.encode() + b"\0"
        fields = (
            self.entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(raw), 0,
        )  # fmt: skip
        self.data += b"070701" + b"".join(b"%08X" % number for number in fields) + raw
        self._pad()
        self.data += content
        self._pad()

    def finish(self) -> bytes:
        """End the archive; returns its bytes."""
        self.add("TRAILER!!!", 0)
        return bytes(self.data)

    def _pad(self) -> None:
        self.data += bytes(-len(self.data) % ALIGNMENT)


class Missing(Exception):
    """A module or a file is not there; the message says which."""


class Modules:
    """The modules of a kernel."""

    def __init__(self, folder: Path) -> None:
        """Look through a folder of modules. Errors: Missing if there are none."""
        self.files = {
            name_of(path): path for path in sorted(folder.rglob("*.ko*")) if is_module(path)
        }
        if not self.files:
            raise Missing(f"{folder} has no kernel modules")
        listed = folder / "modules.builtin"
        self.builtin = (
            {name_of(Path(line)) for line in listed.read_text().splitlines()}
            if listed.exists()
            else set()
        )

    def load(self, name: str) -> bytes:
        """Return a module without its signature. Errors: Missing."""
        path = self.files.get(name)
        if path is None:
            raise Missing(f"the kernel has no module {name}")
        data = path.read_bytes()
        return unsigned(lzma.decompress(data) if path.suffix == ".xz" else data)

    def ordered(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """Return modules by name, each after what it depends on. Errors: Missing.

        What is built into the kernel is left out.
        """
        done: dict[str, bytes] = {}
        for name in wanted:
            self._visit(name, done)
        return done

    def _visit(self, name: str, done: dict[str, bytes]) -> None:
        """Add a module after its dependencies. The kernel's build refuses circles among them."""
        if name in done or name in self.builtin:
            return
        content = self.load(name)
        for other in dependencies(content):
            # What a soft dependency names may be an alias, which is built in or does without.
            if other in self.files:
                self._visit(other, done)
        done[name] = content


def is_module(path: Path) -> bool:
    """Tell modules from what else may lie beside them."""
    return path.is_file() and path.name.endswith(SUFFIXES)


def name_of(path: Path) -> str:
    """Return the name that the kernel has for a module's file."""
    return path.name.partition(".ko")[0].replace("-", "_")


def dependencies(module: bytes) -> Iterator[str]:
    """Return the modules that a module names in its .modinfo, soft ones included."""
    for match in DEPENDS.finditer(module):
        for name in re.split(r"[,\s]+", match[1].decode("ascii", "replace")):
            if name:
                yield name.replace("-", "_")


def unsigned(module: bytes) -> bytes:
    """Return a module without the signature at its end. Errors: Missing if that is damaged."""
    if not module.endswith(SIGNED):
        return module
    end = len(module) - len(SIGNED) - SIGNATURE.size
    if end < 0:
        raise Missing("a module ends in its signature")
    (length,) = SIGNATURE.unpack_from(module, end)
    if length > end:
        raise Missing("a module's signature is longer than the module")
    return module[: end - length]


def make(modules: Path, busybox: Path) -> bytes:
    """Return the archive. Errors: Missing; OSError."""
    archive = Archive()
    for folder in FOLDERS:
        archive.add(folder, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("init", stat.S_IFREG | 0o755, INIT.read_bytes())
    there = Modules(modules)
    added: set[str] = set()
    for order, wanted in {"order": WANTED, **by_device()}.items():
        found = {
            name: content for name, content in there.ordered(wanted).items() if name not in added
        }
        for name, content in found.items():
            archive.add(f"modules/{name}.ko", stat.S_IFREG | 0o644, content)
        added |= set(found)
        lines = "".join(f"{name}\n" for name in found)
        archive.add(f"modules/{order}", stat.S_IFREG | 0o644, lines.encode())
    return archive.finish()


def by_device() -> dict[str, tuple[str, ...]]:
    """Return what is loaded for devices, by the name of the file that lists it."""
    return {f"order.0x{number:04x}": wanted for number, wanted in WANTED_BY_DEVICE.items()}


def main() -> int:
    """Write the archive; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", type=Path)
    parser.add_argument("busybox", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    try:
        made = make(arguments.modules, arguments.busybox)
        arguments.output.write_bytes(made)
    except (Missing, OSError, lzma.LZMAError) as error:
        print(f"initramfs.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
