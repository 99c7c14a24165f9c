"""ELF executables for RV64: what is loaded, where execution begins, what addresses are called.

System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html);
RISC-V ELF psABI, 8. A file may come from anywhere: each count, offset and size is checked against
the file and against a limit before it is used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.cpu.errors import BadImage
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x7fELF"
"""EI_MAG0 to EI_MAG3."""
ELFCLASS64 = 2
ELFDATA2LSB = 1
EM_RISCV = 243
"""e_machine."""
EXECUTABLE_TYPES = {2: "ET_EXEC", 3: "ET_DYN"}
"""e_type of what can be loaded; a position-independent one is loaded where it is linked."""
OTHER_MACHINES = {
    3: "x86 (32 bits)",
    8: "MIPS",
    20: "PowerPC",
    40: "Arm (32 bits)",
    62: "x86-64",
    183: "Arm (AArch64)",
    258: "LoongArch",
}
"""e_machine of what people have as well."""
PT_LOAD = 1
SHT_SYMTAB = 2
NOTHING_TYPES = (3, 4)
"""STT_SECTION and STT_FILE: symbols that name no place in the code."""

HEADER = struct.Struct("<4s5B7xHHIQQQIHHHHHH")
"""Elf64_Ehdr."""
PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
"""Elf64_Phdr."""
SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
"""Elf64_Shdr."""
SYMBOL = struct.Struct("<IBBHQQ")
"""Elf64_Sym."""

PROGRAM_HEADERS_MAX = 128
SECTIONS_MAX = 4096
SYMBOLS_MAX = 1_000_000
SYMBOL_NAME_MAX = 255


@dataclass(frozen=True)
class Segment:
    """One PT_LOAD segment: `size` bytes from the physical `address` on; zero after `data`."""

    address: int
    virtual_address: int
    data: bytes
    size: int


@dataclass(frozen=True)
class Elf:
    """What an executable has for a loader. `entry` is physical."""

    entry: int
    segments: tuple[Segment, ...]
    symbols: tuple[tuple[int, str], ...]
    """Addresses and names, ascending by address."""


def is_elf(content: bytes) -> bool:
    """Say whether a file begins as an ELF file does."""
    return content.startswith(MAGIC)


def parse_elf(content: bytes, source: str) -> Elf:
    """Read an executable. Errors: BadImage, which names `source` and what is wrong."""
    reader = _Reader(content, source)
    segments = tuple(reader.segments())
    if not segments:
        raise BadImage(f"{source}: the ELF file has no segment to load (PT_LOAD)")
    return Elf(reader.entry(segments), segments, reader.symbols())


class _Reader:
    """Reads one file."""

    def __init__(self, content: bytes, source: str) -> None:
        self._content = content
        self._source = source
        if len(content) < HEADER.size:
            raise self._bad("it is shorter than an ELF header")
        header = HEADER.unpack_from(content)
        elf_class, byte_order, kind, machine = header[1], header[2], header[6], header[7]
        self._entry: int = header[9]
        program_at, section_at = header[10], header[11]
        program_size, program_count, section_size, section_count = header[14:18]
        if elf_class != ELFCLASS64:
            raise self._bad("it is an ELF file of 32 bits: the CPU is RV64")
        if byte_order != ELFDATA2LSB:
            raise self._bad("it is big-endian: the CPU is little-endian")
        if machine != EM_RISCV:
            name = OTHER_MACHINES.get(machine, f"machine {machine}")
            raise self._bad(f"it is for {name}: the CPU is RISC-V (RV64GC)")
        if kind not in EXECUTABLE_TYPES:
            raise self._bad(f"it is no executable (e_type {kind}): link it first")
        if program_count > PROGRAM_HEADERS_MAX:
            raise self._bad(f"{program_count} program headers: at most {PROGRAM_HEADERS_MAX}")
        if program_count and program_size != PROGRAM_HEADER.size:
            raise self._bad(f"program headers of {program_size} bytes")
        self._program = self._cut(program_at, program_count * program_size, "the program headers")
        self._sections = b""
        if section_size == SECTION_HEADER.size and section_count <= SECTIONS_MAX:
            # Without them there are no symbols; the image can be loaded all the same.
            self._sections = content[section_at : section_at + section_count * section_size]

    def segments(self) -> Iterator[Segment]:
        """Yield the segments in the order of the file. Errors: BadImage."""
        for header in PROGRAM_HEADER.iter_unpack(self._program):
            kind, _flags, offset, virtual_address, address, file_size, memory_size, _align = header
            if kind != PT_LOAD or not memory_size:
                continue
            if file_size > memory_size:
                raise self._bad(
                    f"the segment at {address:#x} has {file_size} bytes in the file and"
                    f" {memory_size} in memory"
                )
            data = self._cut(offset, file_size, f"the segment at {address:#x}")
            yield Segment(address, virtual_address, data, memory_size)

    def entry(self, segments: tuple[Segment, ...]) -> int:
        """Return the physical address of the first instruction. Errors: BadImage."""
        for one in segments:
            if one.virtual_address <= self._entry < one.virtual_address + one.size:
                return self._entry - one.virtual_address + one.address
        for one in segments:
            if one.address <= self._entry < one.address + one.size:
                return self._entry
        raise self._bad(f"its entry {self._entry:#x} is in no segment")

    def symbols(self) -> tuple[tuple[int, str], ...]:
        """Return what addresses are called; nothing where the table is broken or too large."""
        sections = list(SECTION_HEADER.iter_unpack(self._sections[: self._whole_sections()]))
        for _name, kind, _flags, _address, offset, size, link, _info, _align, entry in sections:
            if kind != SHT_SYMTAB or entry != SYMBOL.size or link >= len(sections):
                continue
            if size > SYMBOLS_MAX * SYMBOL.size:
                return ()
            table = self._content[offset : offset + size // SYMBOL.size * SYMBOL.size]
            names_at, names_size = sections[link][4], sections[link][5]
            if len(table) % SYMBOL.size or names_at + names_size > len(self._content):
                return ()
            return tuple(sorted(self._named(table, names_at, names_at + names_size)))
        return ()

    def _whole_sections(self) -> int:
        """Return the bytes of the section headers that are there whole."""
        return len(self._sections) // SECTION_HEADER.size * SECTION_HEADER.size

    def _named(self, table: bytes, begin: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield address and name of the symbols that name a place in the program."""
        for name, info, _other, section, value, _size in SYMBOL.iter_unpack(table):
            if not name or not section or info & 15 in NOTHING_TYPES or begin + name >= end:
                continue
            stop = self._content.find(b"\0", begin + name, begin + name + SYMBOL_NAME_MAX + 1)
            text = self._content[begin + name : max(stop, begin + name)]
            # Assemblers leave local labels and mapping symbols ($x, $d) behind.
            if text and not text.startswith((b"$", b".L")):
                yield value, printable(text.decode(errors="replace"))

    def _cut(self, offset: int, size: int, what: str) -> bytes:
        """Return a piece of the file. Errors: BadImage when the file has not all of it."""
        if offset + size > len(self._content):
            raise self._bad(
                f"the file is cut off: {what} would end at {offset + size}, and it has"
                f" {len(self._content)} bytes"
            )
        return self._content[offset : offset + size]

    def _bad(self, what: str) -> BadImage:
        """Make an error."""
        return BadImage(f"{self._source}: {what}")
