"""The client's contract: the same for a kernel in memory and for real processes, in both faces."""

from __future__ import annotations

import asyncio
import inspect
import io
import os
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh_client
from virtmesh_client import (
    AsyncDisk,
    AsyncInput,
    AsyncMachine,
    AsyncSerial,
    Disk,
    Input,
    Machine,
    Serial,
)
from virtmesh_client.cpu.aio import AsyncCpu
from virtmesh_client.cpu.control import Cpu
from virtmesh_client.screen.aio import AsyncScreen
from virtmesh_client.screen.screen import Screen
from virtmesh_client.testing import FakeKernel
from virtmesh_common.blk.errors import BlockReadOnly, PastEnd, Unaligned, WouldShrink
from virtmesh_common.errors import DeviceNotFound, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 16 << 20
THREADED = {"plug_in"}
"""Methods for who has threads of his own."""


class Awaited:
    """The asyncio face of a disk, each call awaited to its end."""

    def __init__(self, disk: AsyncDisk) -> None:
        self._disk = disk

    def stream(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Collect a stream."""

        async def collect() -> list[bytes]:
            return [part async for part in self._disk.stream(offset, length)]

        return iter(asyncio.run(collect()))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)

        def call(*args: object, **kwargs: object) -> object:
            async def wait() -> object:
                return await method(*args, **kwargs)

            return asyncio.run(wait())

        return call


@pytest.fixture(params=["memory", pytest.param("processes", marks=pytest.mark.processes)])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Start a machine with the disk vda of 16 MiB."""
    if request.param == "processes":
        yield request.getfixturevalue("shared_address")
        return
    with FakeKernel(vda=SIZE) as kernel:
        yield kernel.address


@pytest.fixture(params=["blocking", "asyncio"])
def disk(request: pytest.FixtureRequest, address: str) -> Iterator[Any]:
    """Connect to the disk vda."""
    with virtmesh_client.connect(address) as machine:
        disk = machine.disk("vda")
        yield disk if request.param == "blocking" else Awaited(AsyncDisk(disk))


@pytest.mark.parametrize(
    "face",
    [
        (Disk, AsyncDisk),
        (Machine, AsyncMachine),
        (Input, AsyncInput),
        (Serial, AsyncSerial),
        (Screen, AsyncScreen),
        (Cpu, AsyncCpu),
    ],
)
def test_both_faces_have_the_same_methods(face: tuple[type, type]) -> None:
    """With the same parameters, defaults and docstrings."""
    shapes = [
        {
            name: (str(inspect.signature(member).replace(return_annotation=None)), member.__doc__)
            for name, member in vars(one).items()
            if inspect.isfunction(member) and not name.startswith("_") and name not in THREADED
        }
        for one in face
    ]
    assert shapes[0] == shapes[1]


def test_a_disk_describes_itself(disk: Any) -> None:
    """Kernel's view and image's view agree."""
    info = disk.info()
    assert (info.name, info.capacity_bytes, info.read_only) == ("vda", SIZE, False)
    assert info.block_size_bytes >= 512
    assert info.image.path


@pytest.mark.parametrize("offset", [0, 1, 511, 512, 4097, (1 << 20) - 1])
@pytest.mark.parametrize("length", [1, 511, 513, (2 << 20) + 3])
def test_what_is_written_is_read_back_and_nothing_else_changes(
    disk: Any, offset: int, length: int
) -> None:
    """At any offset, of any length, with its neighbours untouched."""
    fence = b"\xaa" * 1024
    disk.write(offset + length, fence)
    content = os.urandom(length)
    disk.write(offset, content)
    assert disk.read(offset, length) == content
    assert disk.read(offset + length, len(fence)) == fence


def test_a_buffer_is_filled(disk: Any) -> None:
    """In place."""
    disk.write(100, b"filled")
    buffer = bytearray(6)
    assert disk.read_into(100, buffer) == 6
    assert buffer == b"filled"


def test_a_stream_has_the_whole_disk(disk: Any) -> None:
    """In order, in pieces that fit a message."""
    disk.write(SIZE - 3, b"end")
    parts = list(disk.stream())
    assert sum(map(len, parts)) == SIZE
    assert max(map(len, parts)) <= 1 << 20
    assert parts[-1].endswith(b"end")


def test_an_empty_range_is_nothing(disk: Any) -> None:
    """A length of 0 does not mean the whole disk."""
    assert disk.read(0, 0) == b""
    assert disk.write(0, b"").bytes == 0


def test_an_iterable_and_a_file_are_written_alike(disk: Any) -> None:
    """Whatever the source."""
    disk.write(0, [b"one ", b"two ", b"three"])
    disk.write(13, io.BytesIO(b" four"))
    assert disk.read(0, 18) == b"one two three four"


def test_an_image_goes_in_and_comes_out_the_same(disk: Any, tmp_path: Path) -> None:
    """Import, verified, then export."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 << 20) + bytes(5 << 20) + os.urandom(12345))
    imported = disk.import_from(source, verify=True)
    exported = disk.export_to(target, length=imported.bytes)
    assert imported.sha256 == exported.sha256
    assert target.read_bytes() == source.read_bytes()
    assert imported.verified


def test_ranges_are_cleared(disk: Any) -> None:
    """By discard and by write-zeroes."""
    disk.write(0, b"x" * 16384)
    disk.write_zeroes(4096, 4096, unmap=True)
    assert disk.read(4096, 4096) == bytes(4096)
    assert disk.read(8192, 4096) == b"x" * 4096
    disk.discard(8192, 4096)
    assert disk.read(12288, 4096) == b"x" * 4096


def test_a_disk_grows_in_use(disk: Any) -> None:
    """And shrinks only when that is allowed."""
    assert disk.resize(2 * SIZE) == SIZE
    assert disk.info().capacity_bytes == 2 * SIZE
    disk.write(2 * SIZE - 4, b"tail")
    with pytest.raises(WouldShrink):
        disk.resize(SIZE)
    assert disk.resize(SIZE, allow_shrink=True) == 2 * SIZE


def test_a_read_only_disk_refuses_writes_until_it_takes_them_again(disk: Any) -> None:
    """Nothing changes meanwhile."""
    disk.write(0, b"before")
    disk.set_read_only()
    with pytest.raises(VirtmeshError):
        disk.write(0, b"during")
    with pytest.raises(BlockReadOnly):
        disk.import_from(io.BytesIO(b"during"))
    disk.set_read_only(read_only=False)
    assert disk.read(0, 6) == b"before"
    disk.write(0, b"after!")
    assert disk.read(0, 6) == b"after!"


def test_work_is_counted(disk: Any) -> None:
    """By type of request."""
    before = {row.type: row.ok for row in disk.stats().requests}
    disk.write(0, b"x" * 4096)
    disk.flush()
    disk.read(0, 4096)
    after = {row.type: row.ok for row in disk.stats().requests}
    for kind in ("OUT", "FLUSH", "IN"):
        assert after[kind] > before.get(kind, 0)


def test_a_driver_is_in_charge(disk: Any) -> None:
    """The kernel's, with DRIVER_OK."""
    status = disk.status()
    assert status.attached
    assert "DRIVER_OK" in status.device_status_names


def test_a_write_past_the_end_says_what_is_written(disk: Any) -> None:
    """The facts are in the metadata."""
    with pytest.raises(PastEnd) as caught:
        disk.write(SIZE - 4, b"too long")
    assert int(caught.value.metadata["written_bytes"]) <= 4
    assert caught.value.metadata["offset_bytes"] == str(SIZE - 4)


@pytest.mark.parametrize(
    ("offset", "length"), [(SIZE, 1), (SIZE - 1, 2), (2**62, 1), (0, 2**63), (2**64 - 1, 1)]
)
def test_a_read_past_the_end_is_refused(disk: Any, offset: int, length: int) -> None:
    """Whole, and without overflow."""
    with pytest.raises(PastEnd):
        disk.read(offset, length)


def test_a_discard_that_is_not_aligned_is_refused(disk: Any) -> None:
    """Since the disk could not do it."""
    with pytest.raises(Unaligned):
        disk.discard(1, 512)


def test_a_disk_that_is_not_there_is_not_found(address: str) -> None:
    """Whatever is asked of it."""
    with virtmesh_client.connect(address) as machine:
        disk = machine.disk("nope")
        for call in (disk.info, disk.stats, disk.flush, lambda: disk.write(0, b"x")):
            with pytest.raises(DeviceNotFound):
                call()


async def test_a_cancelled_write_ends_at_once(address: str) -> None:
    """The task is cancelled, the connection stays good."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(512)
            loop.call_soon_threadsafe(started.set)

    async with await virtmesh_client.aconnect(address) as machine:
        disk = machine.disk("vda")
        task = asyncio.create_task(disk.write(0, endless()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await disk.read(0, 512)) == 512
