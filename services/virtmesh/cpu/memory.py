"""Reading and writing guest RAM for people, by physical or by virtual address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.cpu.errors import BadAddress
from virtmesh_common.errors import MemoryRefused

if TYPE_CHECKING:
    from virtmesh_native import Board

CHUNK_MAX = 1 << 20
"""Most bytes of one call (cpu.proto)."""
ADDRESS_END = 1 << 64
PAGE_SIZE = 4096


def read_memory(board: Board, address: int, size: int, *, virtual: bool) -> bytes:
    """Read RAM. Errors: BadAddress for what is not RAM, or not mapped."""
    check_range(address, size)
    read = board.read_virtual if virtual else board.read_physical
    try:
        return read(address, size)
    except (MemoryRefused, ValueError) as error:
        raise BadAddress(str(error)) from error


def read_mapped(board: Board, address: int, size: int) -> bytes:
    """Read RAM by virtual address, up to where none is mapped. Errors: BadAddress for none."""
    found = bytearray()
    while len(found) < size:
        at = address + len(found)
        piece = min(size - len(found), PAGE_SIZE - at % PAGE_SIZE)
        try:
            found += read_memory(board, at, piece, virtual=True)
        except BadAddress:
            if not found:
                raise
            break
    return bytes(found)


def write_memory(board: Board, address: int, data: bytes, *, virtual: bool) -> None:
    """Write RAM, all of it or nothing. Errors: as of `read_memory`."""
    check_range(address, len(data))
    write = board.write_virtual if virtual else board.write_physical
    try:
        write(address, data)
    except (MemoryRefused, ValueError) as error:
        raise BadAddress(str(error)) from error


def check_range(address: int, size: int) -> None:
    """Refuse what is beyond the address space. Errors: BadAddress."""
    if address + size > ADDRESS_END:
        raise BadAddress(f"{size} bytes at {address:#x} are beyond 64 bits")
