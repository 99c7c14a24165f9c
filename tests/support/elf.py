"""ELF files for tests, made field by field, so that each can be wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

HEADER_SIZE, PROGRAM_SIZE, SECTION_SIZE, SYMBOL_SIZE = 64, 56, 64, 24


@dataclass
class ElfFile:
    """An executable for RV64. Segments are (physical address, bytes, size in memory)."""

    entry: int = 0x8000_0000
    segments: list[tuple[int, bytes, int]] = field(default_factory=list)
    symbols: dict[str, int] = field(default_factory=dict)
    elf_class: int = 2
    byte_order: int = 1
    machine: int = 243
    kind: int = 2
    virtual_offset: int = 0
    """Added to physical addresses, for virtual ones and the entry."""

    def encode(self) -> bytes:
        """Return the file: headers, segments, symbols, names, section headers."""
        at = HEADER_SIZE + PROGRAM_SIZE * len(self.segments)
        programs, body = b"", b""
        for address, data, size in self.segments:
            virtual = address + self.virtual_offset
            programs += struct.pack(
                "<IIQQQQQQ", 1, 7, at + len(body), virtual, address, len(data), size, 4096
            )
            body += data
        names, table = b"\0", bytes(SYMBOL_SIZE)
        for name, value in self.symbols.items():
            table += struct.pack("<IBBHQQ", len(names), 0x12, 0, 1, value, 0)
            names += name.encode() + b"\0"
        table_at = at + len(body)
        names_at = table_at + len(table)
        sections_at = names_at + len(names)
        sections = (
            bytes(SECTION_SIZE)
            + struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, table_at, len(table), 2, 1, 8, SYMBOL_SIZE)
            + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
        )
        header = struct.pack(
            "<4s5B7xHHIQQQIHHHHHH",
            *(b"\x7fELF", self.elf_class, self.byte_order, 1, 0, 0),
            *(self.kind, self.machine, 1, self.entry + self.virtual_offset),
            *(HEADER_SIZE, sections_at, 0, HEADER_SIZE),
            *(PROGRAM_SIZE, len(self.segments), SECTION_SIZE, 3, 2),
        )
        return header + programs + body + table + names + sections
