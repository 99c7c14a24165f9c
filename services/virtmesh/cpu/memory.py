"""Reading and writing guest RAM for people, by physical or by virtual address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh_common.errors import BadAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_MAX = 1 << 20
"""Most bytes of one call (cpu.proto)."""
PAGE = 4096
ADDRESS_END = 1 << 64


def read_memory(board: Any, address: int, size: int, *, virtual: bool) -> bytes:
    """Read RAM. Errors: BadAddress for what is not RAM, or not mapped."""
    return b"".join(
        _checked(board.read_physical, physical, length)
        for physical, length in pieces(board, address, size, virtual=virtual)
    )


def write_memory(board: Any, address: int, data: bytes, *, virtual: bool) -> None:
    """Write RAM, all of it or nothing. Errors: as of `read_memory`."""
    found = list(pieces(board, address, len(data), virtual=virtual))
    for physical, length in found:
        _checked(board.read_physical, physical, length)
    place = 0
    for physical, length in found:
        _checked(board.write_physical, physical, data[place : place + length])
        place += length


def pieces(board: Any, address: int, size: int, *, virtual: bool) -> Iterator[tuple[int, int]]:
    """Split a range into physical ones, a page each where it is virtual. Errors: BadAddress."""
    if address + size > ADDRESS_END:
        raise BadAddress(f"{size} bytes at {address:#x} are beyond 64 bits")
    if not virtual:
        yield address, size
        return
    while size:
        length = min(size, PAGE - address % PAGE)
        physical = board.translate(address)
        if physical is None:
            raise BadAddress(f"nothing is mapped at the virtual address {address:#x}")
        yield physical, length
        address, size = address + length, size - length


def _checked(function: Any, address: int, argument: Any) -> Any:
    """Call a function of the board. Errors: BadAddress."""
    try:
        return function(address, argument)
    except (ValueError, OverflowError, IndexError) as error:
        raise BadAddress(f"{address:#x} is not RAM: {error}") from error
