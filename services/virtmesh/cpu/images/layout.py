"""Where everything goes in RAM, and how the CPU enters it.

Like QEMU's `virt` board: firmware at the start of RAM, a kernel behind it 2 MiB above, the device
tree near the end of RAM, the initial RAM disk below the tree. The CPU begins at the firmware, or
without one at the kernel, in machine mode, with a0 = hart ID, a1 = address of the device tree, a2 =
address of `struct fw_dynamic_info` of OpenSBI (firmware other than fw_dynamic ignores it).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh.cpu.images.elf import Elf, is_elf, parse_elf
from virtmesh.cpu.images.linux_image import TEXT_OFFSET, parse_linux_image
from virtmesh.cpu.images.read import DEBUG_FACTOR, read_image
from virtmesh_common.cpu.errors import BadImage
from virtmesh_common.sizes import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TREE_ROOM = 0x1_0000
"""Bytes that are kept for the device tree: firmware adds nodes to it in place."""
TREE_ALIGN = 0x20_0000
"""The tree begins at such a multiple where RAM is large enough: Linux maps it by huge pages."""
FW_DYNAMIC_INFO = struct.Struct("<6Q")
"""struct fw_dynamic_info: magic, version, next_addr, next_mode, options, boot_hart
(include/sbi/fw_dynamic.h of OpenSBI)."""
FW_DYNAMIC_MAGIC = 0x4942_534F
FW_DYNAMIC_VERSION = 2
FW_DYNAMIC_NEXT_MODE_S = 1
TREE_NAME = "the device tree"
"""What the piece with the device tree is called."""
HART = 0
"""Hart ID of the one CPU."""


@dataclass(frozen=True)
class Ram:
    """Guest RAM: `size` bytes from the guest physical `address`."""

    address: int
    size: int

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.address + self.size


@dataclass(frozen=True)
class Piece:
    """What is put at an address of RAM: `data`, and zeroes up to `size` bytes."""

    name: str
    address: int
    data: bytes
    size: int

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.address + self.size


@dataclass(frozen=True)
class ImagePaths:
    """The files that a guest boots from."""

    kernel: Path
    firmware: Path | None = None
    initrd: Path | None = None

    @property
    def folders(self) -> Sequence[Path]:
        """Where the files are, through links as well; a file at the root stands for itself."""
        files = [one for one in (self.kernel, self.firmware, self.initrd) if one is not None]
        paths = [path for one in files for path in (one.absolute(), one.resolve())]
        return [path if path.parent == Path(path.anchor) else path.parent for path in paths]


@dataclass(frozen=True)
class Layout:
    """All that is put into RAM, and the registers of the CPU at its first instruction."""

    pieces: tuple[Piece, ...]
    registers: dict[str, int]
    """pc, and x10 to x12 (a0 to a2)."""
    symbols: tuple[tuple[int, str], ...] = ()
    """Addresses and names of the kernel, ascending by address."""


@dataclass(frozen=True)
class _Loaded:
    """One image, placed."""

    pieces: tuple[Piece, ...]
    entry: int
    symbols: tuple[tuple[int, str], ...] = ()


def make_layout(
    ram: Ram, paths: ImagePaths, make_tree: Callable[[tuple[int, int] | None], bytes]
) -> Layout:
    """Read the images and place them. `make_tree` gets begin and end of the initial RAM disk.

    Errors: BadImage for files that can't be used, for what is outside RAM, for what overlaps.
    """
    tree_at = place_tree(ram)
    pieces: list[Piece] = []
    entry: int | None = None
    if paths.firmware is not None:
        firmware = _load(paths.firmware, "the firmware", ram, ram.address)
        pieces += firmware.pieces
        entry = firmware.entry
    kernel = _load_kernel(paths.kernel, ram, has_firmware=entry is not None)
    pieces += kernel.pieces
    initrd = None
    if paths.initrd is not None:
        content = read_image(paths.initrd, ram.size)
        begin = (tree_at - len(content)) // PAGE * PAGE
        pieces.append(Piece(f"the initrd {paths.initrd}", begin, content, len(content)))
        initrd = begin, begin + len(content)
    tree = make_tree(initrd)
    info_at = tree_at + TREE_ROOM
    if len(tree) > TREE_ROOM:
        raise BadImage(
            f"the device tree has {len(tree)} bytes: at most {TREE_ROOM} are kept for it"
        )
    pieces.append(Piece(TREE_NAME, tree_at, tree, TREE_ROOM))
    info = FW_DYNAMIC_INFO.pack(
        *(FW_DYNAMIC_MAGIC, FW_DYNAMIC_VERSION, kernel.entry, FW_DYNAMIC_NEXT_MODE_S, 0, HART)
    )
    pieces.append(Piece("what fw_dynamic reads", info_at, info, len(info)))
    check_pieces(pieces, ram)
    registers = {
        "pc": kernel.entry if entry is None else entry,
        "x10": HART,
        "x11": tree_at,
        "x12": info_at,
    }
    return Layout(tuple(pieces), registers, kernel.symbols)


def place_tree(ram: Ram) -> int:
    """Return where the device tree goes: near the end of RAM. Errors: BadImage."""
    room = TREE_ROOM + PAGE
    for align in (TREE_ALIGN, PAGE):
        address = (ram.end - room) // align * align
        if address > ram.address:
            return address
    raise BadImage(f"{ram.size} bytes of RAM are too few for a device tree: give it more memory")


def check_pieces(pieces: Iterable[Piece], ram: Ram) -> None:
    """Refuse what is not in RAM, and what overlaps. Errors: BadImage."""
    before: Piece | None = None
    for piece in sorted(pieces, key=lambda one: (one.address, one.end)):
        if piece.address < ram.address or piece.end > ram.end:
            raise BadImage(
                f"{piece.name} needs {piece.address:#x} to {piece.end:#x}, and RAM is"
                f" {ram.address:#x} to {ram.end:#x}: give the machine more memory, or link it for"
                " an address in RAM"
            )
        if before is not None and piece.address < before.end:
            raise BadImage(
                f"{before.name} ({before.address:#x} to {before.end:#x}) and {piece.name}"
                f" ({piece.address:#x} to {piece.end:#x}) overlap: give the machine more memory, or"
                " link one of them for another address"
            )
        before = piece


def _load_kernel(path: Path, ram: Ram, *, has_firmware: bool) -> _Loaded:
    """Read and place the kernel. Errors: BadImage."""
    content = read_image(path, ram.size * DEBUG_FACTOR, unpack=True)
    header = None if is_elf(content) else parse_linux_image(content, str(path))
    if header is None:
        at = ram.address + (TEXT_OFFSET if has_firmware else 0)
        return _place(content, f"the kernel {path}", ram, at, str(path))
    if not has_firmware:
        raise BadImage(
            f"{path}: a Linux kernel runs in supervisor mode: add --firmware with an OpenSBI, such"
            " as fw_dynamic.bin of Debian's package opensbi"
        )
    at = ram.address + (header.text_offset or TEXT_OFFSET)
    piece = Piece(f"the kernel {path}", at, content, header.image_size)
    return _Loaded((piece,), at)


def _load(path: Path, what: str, ram: Ram, address: int) -> _Loaded:
    """Read and place an image. Errors: BadImage."""
    content = read_image(path, ram.size * DEBUG_FACTOR)
    return _place(content, f"{what} {path}", ram, address, str(path))


def _place(content: bytes, name: str, ram: Ram, address: int, source: str) -> _Loaded:
    """Place an ELF file where it is linked, and any other image at `address`. Errors: BadImage."""
    if not is_elf(content):
        if len(content) > ram.size:
            raise BadImage(
                f"{source}: it has {len(content)} bytes, and RAM {ram.size}: give the machine more"
                " memory"
            )
        return _Loaded((Piece(name, address, content, len(content)),), address)
    elf: Elf = parse_elf(content, source)
    pieces = tuple(
        Piece(f"{name} (segment {number})", one.address, one.data, one.size)
        for number, one in enumerate(elf.segments)
    )
    return _Loaded(pieces, elf.entry, elf.symbols)
