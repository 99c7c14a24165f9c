"""ELF files: loaded where they are linked, refused with the reason when they can't be."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.elf import HEADER_SIZE, ElfFile
from virtmesh.cpu.images.elf import is_elf, parse_elf
from virtmesh.cpu.symbols import SymbolTable
from virtmesh_common.cpu.errors import BadImage

RAM = 0x8000_0000


def kernel() -> ElfFile:
    """Make an executable with code and zeroed data."""
    return ElfFile(
        segments=[(RAM, b"\x13\0\0\0" * 4, 16), (RAM + 0x1000, b"data", 0x100)],
        symbols={"_start": RAM, "main": RAM + 8},
    )


def test_segments_are_read_with_their_zeroes() -> None:
    """Each has its bytes, and the size that it needs in memory."""
    elf = parse_elf(kernel().encode(), "kernel")

    assert [(one.address, one.data, one.size) for one in elf.segments] == [
        (RAM, b"\x13\0\0\0" * 4, 16),
        (RAM + 0x1000, b"data", 0x100),
    ]
    assert elf.entry == RAM


def test_the_entry_of_a_kernel_that_is_linked_high_is_physical() -> None:
    """A vmlinux has virtual addresses; it is entered before there are page tables."""
    file = kernel()
    file.virtual_offset = 0xFFFF_FFFF_0000_0000
    file.entry = RAM + 4

    assert parse_elf(file.encode(), "kernel").entry == RAM + 4


def test_symbols_name_addresses() -> None:
    """With the distance from the symbol before."""
    table = SymbolTable(parse_elf(kernel().encode(), "kernel").symbols)

    assert (table.name(RAM), table.name(RAM + 12), table.name(RAM - 4)) == (
        "_start",
        "main+0x4",
        "",
    )
    assert table.find("main") == RAM + 8
    assert table.find("nothing") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": 62}, "it is for x86-64: the CPU is RISC-V"),
        ({"machine": 4711}, "it is for machine 4711"),
        ({"elf_class": 1}, "of 32 bits: the CPU is RV64"),
        ({"byte_order": 2}, "big-endian"),
        ({"kind": 1}, "no executable"),
        ({"segments": []}, "no segment to load"),
        ({"entry": 0x1000}, "entry 0x1000 is in no segment"),
        ({"segments": [(RAM, bytes(32), 16)]}, "32 bytes in the file and 16 in memory"),
    ],
)
def test_what_can_not_run_is_refused(change: dict[str, object], message: str) -> None:
    """The error names the file and the reason."""
    file = kernel()
    for name, value in change.items():
        setattr(file, name, value)

    with pytest.raises(BadImage, match=message) as caught:
        parse_elf(file.encode(), "kernel.elf")
    assert caught.value.message.startswith("kernel.elf: ")


def test_a_cut_file_is_refused() -> None:
    """A segment that is not there whole is never loaded in part."""
    with pytest.raises(BadImage, match="cut off: the segment at 0x80000000 would end at"):
        parse_elf(kernel().encode()[: HEADER_SIZE + 2 * 56 + 4], "kernel")


@given(
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=12),
    st.integers(0, 700),
)
def test_no_file_does_any_harm(changes: list[tuple[int, int]], length: int) -> None:
    """Whatever is changed or cut: it is read within bounds, or refused."""
    content = bytearray(kernel().encode())
    for place, value in changes:
        content[place % len(content)] = value
    content = content[: max(length, 8)]

    with suppress(BadImage):
        elf = parse_elf(bytes(content), "kernel")
        assert all(len(one.data) <= one.size for one in elf.segments)
    assert is_elf(kernel().encode())
