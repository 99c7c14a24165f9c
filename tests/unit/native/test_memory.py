"""virtmesh_native.GuestMemory: what it maps, and what it refuses."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest
from virtmesh_native import GuestMemory

from tests.support.native_rig import BASE, SIZE, make_memfd, make_memory
from virtmesh_common.errors import MemoryRefused, MemoryTooSmall, MemoryUnsealed

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096


@pytest.fixture
def memfd() -> Iterator[int]:
    """Make a sealed memfd of SIZE bytes."""
    descriptor = make_memfd()
    yield descriptor
    os.close(descriptor)


def test_what_is_written_is_in_the_file(memfd: int) -> None:
    """The mapping is shared: others who map the file see writes, and writes of others are read."""
    memory = GuestMemory([(memfd, BASE, SIZE - PAGE, PAGE)])
    memory.write(BASE + 5, b"hello")
    os.pwrite(memfd, b"J", PAGE + 5)
    assert memory.size == SIZE - PAGE
    assert os.pread(memfd, 5, PAGE + 5) == b"Jello"
    assert memory.read(BASE + 5, 5) == b"Jello"


def test_the_descriptor_is_duplicated() -> None:
    """The memory outlives the caller's descriptor."""
    memory = make_memory()
    memory.write(BASE, b"x")
    assert memory.read(BASE, 1) == b"x"


def test_adjacent_regions_are_one_range(memfd: int) -> None:
    """An access may span regions that touch."""
    memory = GuestMemory([(memfd, BASE + PAGE, PAGE, 0), (memfd, BASE, PAGE, PAGE)])
    memory.write(BASE + PAGE - 2, b"abcd")
    assert memory.read(BASE + PAGE - 2, 4) == b"abcd"


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (BASE - 1, 1),
        (BASE + SIZE, 1),
        (BASE + SIZE - 1, 2),
        (0, 1),
        (BASE, 2**63),
        (2**64 - 1, 1),
        (2**64 - 1, 2**64 - 1),
    ],
)
def test_a_read_outside_is_refused(address: int, length: int) -> None:
    """No room is made for it, and no byte of it is read."""
    memory = make_memory()
    with pytest.raises(MemoryRefused):
        memory.read(address, length)


def test_a_write_that_ends_outside_writes_nothing() -> None:
    """The part inside stays as it was."""
    memory = make_memory()
    with pytest.raises(MemoryRefused):
        memory.write(BASE + SIZE - 1, b"xy")
    assert memory.read(BASE + SIZE - 1, 1) == b"\0"


def test_memory_that_could_shrink_is_refused() -> None:
    """Without F_SEAL_SHRINK, its owner could kill the device."""
    descriptor = make_memfd(sealed=False)
    with pytest.raises(MemoryUnsealed):
        GuestMemory([(descriptor, BASE, SIZE, 0)])
    os.close(descriptor)


def test_what_is_no_memfd_is_refused() -> None:
    """A pipe can't be sealed."""
    reader, writer = os.pipe()
    with pytest.raises(MemoryUnsealed):
        GuestMemory([(reader, BASE, SIZE, 0)])
    os.close(reader)
    os.close(writer)


def test_a_file_shorter_than_its_region_is_refused(memfd: int) -> None:
    """An access behind its end would kill the device."""
    with pytest.raises(MemoryTooSmall):
        GuestMemory([(memfd, BASE, SIZE, PAGE)])


def test_bad_regions_are_refused(memfd: int) -> None:
    """None, empty, unaligned, overlapping, overflowing and too many regions."""
    page = (memfd, BASE, PAGE, 0)
    for regions in (
        [],
        [(memfd, BASE, 0, 0)],
        [(memfd, BASE + 1, PAGE, 0)],
        [(memfd, BASE, PAGE + 1, 0)],
        [(memfd, BASE, PAGE, 1)],
        [page, page],
        [(memfd, 2**64 - PAGE, 2 * PAGE, 0)],
        [(memfd, BASE, PAGE, 2**64 - PAGE)],
        [(memfd, BASE + index * PAGE, PAGE, 0) for index in range(9)],
    ):
        with pytest.raises(MemoryRefused):
            GuestMemory(regions)


@pytest.mark.parametrize("descriptor", [-1, -100, 2**31 - 1])
def test_a_number_that_is_no_descriptor_is_refused(descriptor: int) -> None:
    """It is named, and nothing is touched."""
    with pytest.raises(MemoryRefused, match=str(descriptor)):
        GuestMemory([(descriptor, BASE, SIZE, 0)])


def test_numbers_beyond_64_bits_are_refused(memfd: int) -> None:
    """They don't wrap around."""
    with pytest.raises(OverflowError):
        GuestMemory([(memfd, 2**64, SIZE, 0)])
    with pytest.raises(OverflowError):
        GuestMemory([(memfd, -1, SIZE, 0)])


def test_an_endless_list_of_regions_is_refused(memfd: int) -> None:
    """It is not read to its end."""
    with pytest.raises(MemoryRefused):
        GuestMemory(itertools.repeat((memfd, BASE, PAGE, 0)))  # type: ignore[arg-type]
