"""Files that clients hand over are copied to disks and from them, whatever the files are."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.disk_callers import PATIENT_MS, SOON_S
from tests.support.file_hand import FileCaller, make_file, reaching
from tests.support.frozen_fuse import frozen_fuse
from tests.support.hanging_fuse import hanging_fuse
from tests.support.scrapers import exchange
from tests.support.world import DISK_BYTES, World, failure_of, serving
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.blk.errors import BlockReadOnly, FileFailed, FileNotTaken, PastEnd
from virtmesh_common.errors import DeviceLost, LimitReached
from virtmesh_common.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
SIZE = 5 * MIB + 77
"""More than a window has."""
WINDOW = 4 * MIB


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel of one disk, which is not there yet."""
    async with serving(tmp_path, {"vda": "blk"}) as world:
        yield world


@pytest.fixture
def data() -> bytes:
    """Return what is in the file."""
    return os.urandom(SIZE)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Iterator[int]:
    """Make the file, open for reading and writing."""
    descriptor = make_file(tmp_path / "file", data)
    yield descriptor
    os.close(descriptor)


def free_memory(world: World) -> int:
    """Return the free bytes of the guest memory of the disk's driver."""
    driver = world.server.kernel.driver("vda")
    return driver.bus.ram.pages.free_bytes


async def files_in_use(world: World) -> int:
    """Return how many files the kernel service has, as its metrics say."""
    page = (await asyncio.to_thread(exchange, world.server.metrics_address)).decode()
    used = re.findall(r'^virtmesh_limit_used\{.*limit="files".*\} ([0-9.]+)', page, re.MULTILINE)
    return sum(int(float(one)) for one in used)  # The device's service has none.


@pytest.mark.parametrize("offset", [0, 1, 511, 4096, MIB - 3])
@pytest.mark.parametrize("position", [0, 7])
async def test_an_import_is_exact(
    world: World, file: int, data: bytes, offset: int, position: int
) -> None:
    """What lies around the range stays, and the position of the file as well."""
    os.lseek(file, 5, os.SEEK_SET)
    length = SIZE - position
    async with world.serve_disk():
        await world.ready("vda")
        free = free_memory(world)
        await world.write(0, [b"\xaa" * MIB] * (DISK_BYTES // MIB))
        progress = await FileCaller(world).import_file(
            file, length, offset=offset, position=position
        )
        found = await world.read(0, DISK_BYTES)
        assert free_memory(world) == free
    assert progress[-1] == length
    assert progress == sorted(progress)
    rest = DISK_BYTES - offset - length
    assert found == b"\xaa" * offset + data[position:] + b"\xaa" * rest
    assert os.lseek(file, 0, os.SEEK_CUR) == 5


@pytest.mark.parametrize("offset", [0, 1, 4096, MIB - 3])
async def test_an_export_is_exact(world: World, tmp_path: Path, offset: int) -> None:
    """Blocks of zeroes are not written, and nothing is before the range's place in the file."""
    content = os.urandom(2 * MIB) + bytes(2 * MIB) + os.urandom(2 * MIB + 9)
    target = make_file(tmp_path / "target", b"head")
    os.truncate(tmp_path / "target", 4 + len(content))
    async with world.serve_disk():
        await world.ready("vda")
        free = free_memory(world)
        pieces = [content[start : start + MIB] for start in range(0, len(content), MIB)]
        await world.write(offset, pieces)
        progress = await FileCaller(world).export_file(
            target, len(content), offset=offset, position=4
        )
        assert free_memory(world) == free
    assert progress[-1] == len(content)
    assert (tmp_path / "target").read_bytes() == b"head" + content
    assert os.fstat(target).st_blocks * 512 < len(content) - MIB
    os.close(target)


async def test_an_import_by_guest_memory_that_has_no_room(
    world: World, file: int, data: bytes
) -> None:
    """It goes through other memory, and is exact."""
    async with world.serve_disk():
        await world.ready("vda")
        pages = world.server.kernel.driver("vda").bus.ram.pages
        taken = pages.allocate(pages.free_bytes)
        await FileCaller(world).import_file(file, SIZE)
        pages.release(taken)
        assert await world.read(0, SIZE) == data


async def test_a_device_that_dies_during_an_import(world: World, file: int, data: bytes) -> None:
    """Its next service gets what it had, and the rest: the image is exact."""
    caller = FileCaller(world, PATIENT_MS)
    first = ScriptedDisk(sectors=DISK_BYTES // 512)
    async with world.serve_scripted(first):
        await world.ready("vda")
        first.hold = True
        importing = asyncio.create_task(caller.import_file(file, SIZE))
        await first.arrived(1)
    second = ScriptedDisk(sectors=DISK_BYTES // 512)
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        progress = await importing
    assert progress[-1] == SIZE
    assert second.data[:SIZE] == data
    assert world.server.kernel.device("vda").resubmitted > 0


async def test_a_device_that_dies_during_an_export(
    world: World, tmp_path: Path, data: bytes
) -> None:
    """What the next service reads is in the file."""
    target = make_file(tmp_path / "target", b"")
    os.truncate(tmp_path / "target", SIZE)
    first, second = (ScriptedDisk(sectors=DISK_BYTES // 512) for _ in range(2))
    second.data[:SIZE] = data
    async with world.serve_scripted(first):
        await world.ready("vda")
        first.hold = True
        exporting = asyncio.create_task(FileCaller(world, PATIENT_MS).export_file(target, SIZE))
        await first.arrived(1)
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        await exporting
    assert (tmp_path / "target").read_bytes() == data
    os.close(target)


async def test_without_patience_a_loss_says_how_far_it_came(world: World, file: int) -> None:
    """As a stream does."""
    model = ScriptedDisk(sectors=DISK_BYTES // 512)
    async with world.serve_scripted(model):
        await world.ready("vda")
        model.hold = True
        importing = asyncio.create_task(failure_of(FileCaller(world).import_file(file, SIZE)))
        await model.arrived(1)
    error = await importing
    assert isinstance(error, DeviceLost)
    assert error.metadata["written_bytes"] == "0"


def pipe(_: Path) -> int:
    """Make the end of a pipe that nobody writes to."""
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def stream(_: Path) -> int:
    """Make a socket."""
    one, other = socket.socketpair()
    other.close()
    return one.detach()


def opened(flags: int) -> Callable[[Path], int]:
    """Return what opens the file with flags."""
    return lambda path: os.open(path, flags)


FILES = {
    "a pipe": (pipe, "is not open for|no regular file"),
    "a socket": (stream, "no regular file"),
    "a folder": (lambda path: os.open(path.parent, os.O_RDONLY), "no regular file"),
    "an eventfd": (lambda _: os.eventfd(0), "no regular file"),
    "a device": (lambda _: os.open("/dev/zero", os.O_RDWR), "no regular file"),
    "a file of /proc": (lambda _: os.open("/proc/self/maps", os.O_RDONLY), "has 0 bytes"),
    "a path": (opened(os.O_PATH), "O_PATH"),
    "one that appends": (opened(os.O_RDWR | os.O_APPEND), "O_APPEND"),
    "one that goes past the cache": (opened(os.O_RDWR | os.O_DIRECT), "O_DIRECT"),
    "one for writing alone": (opened(os.O_WRONLY), "not open for reading"),
    "a short memfd": (lambda _: os.memfd_create("short"), "has 0 bytes"),
}


@pytest.mark.parametrize("name", list(FILES))
async def test_files_that_are_not_taken(world: World, file: int, tmp_path: Path, name: str) -> None:
    """A plain error before anything is written, and nothing is kept of them."""
    make, text = FILES[name]
    descriptor = make(tmp_path / "file")
    async with world.serve_disk():
        await world.ready("vda")
        error = await failure_of(FileCaller(world).import_file(descriptor, SIZE))
        assert isinstance(error, FileNotTaken)
        assert text.split("|")[-1] in error.message or text.split("|")[0] in error.message
        assert await world.read(0, MIB) == bytes(MIB)
        assert await FileCaller(world).import_file(file, SIZE)
    os.close(descriptor)


async def test_a_file_for_reading_alone_takes_no_export(world: World, tmp_path: Path) -> None:
    """Nor does one that is too short: neither is changed."""
    (tmp_path / "file").write_bytes(b"x" * MIB)
    reading = os.open(tmp_path / "file", os.O_RDONLY)
    writing = os.open(tmp_path / "file", os.O_RDWR)
    async with world.serve_disk():
        await world.ready("vda")
        error = await failure_of(FileCaller(world).export_file(reading, MIB))
        assert "not open for reading and writing" in error.message
        error = await failure_of(FileCaller(world).export_file(writing, 2 * MIB))
        assert "has 1048576 bytes" in error.message
    assert (tmp_path / "file").read_bytes() == b"x" * MIB
    os.close(reading)
    os.close(writing)


async def test_a_range_that_is_not_on_the_disk(world: World, file: int, data: bytes) -> None:
    """It is refused before the file is looked at, as is a disk that may not be written."""
    async with world.serve_disk():
        await world.ready("vda")
        error = await failure_of(FileCaller(world).import_file(file, SIZE, offset=DISK_BYTES - 1))
        assert isinstance(error, PastEnd)
    async with world.serve_disk(read_only=True):
        await world.ready("vda")
        error = await failure_of(FileCaller(world).import_file(file, SIZE))
        assert isinstance(error, BlockReadOnly)
    assert os.pread(file, SIZE, 0) == data


async def test_a_file_that_shrinks(world: World, file: int, tmp_path: Path) -> None:
    """The copy ends there, and says what is written."""
    model = ScriptedDisk(sectors=DISK_BYTES // 512)
    async with world.serve_scripted(model):
        await world.ready("vda")
        model.hold = True
        importing = asyncio.create_task(failure_of(FileCaller(world).import_file(file, SIZE)))
        await model.arrived(1)
        os.truncate(tmp_path / "file", WINDOW)
        model.hold = False
        for request in list(model.held):
            model.answer(request)
        error = await importing
    assert isinstance(error, FileFailed)
    assert "early: was it truncated?" in error.message
    assert error.metadata["written_bytes"] == str(WINDOW)


async def test_a_file_that_hangs_holds_up_nobody(
    world: World, file: int, data: bytes, tmp_path: Path
) -> None:
    """Its caller can leave; its place is given back when the file answers, and not before."""
    folder = tmp_path / "fuse"
    folder.mkdir()
    with frozen_fuse(folder) as fuse:
        frozen = fuse.open_frozen()
        async with world.serve_disk():
            await world.ready("vda")
            free = free_memory(world)
            hanging = [
                asyncio.create_task(FileCaller(world).import_file(frozen, MIB)) for _ in range(2)
            ]
            await until(lambda: files_in_use(world), len(hanging))
            await FileCaller(world).import_file(file, SIZE)
            assert await world.read(0, SIZE) == data
            for one in hanging:
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one
            assert free_memory(world) == free
            assert await files_in_use(world) == len(hanging)
            fuse.thaw()
            await until(lambda: files_in_use(world), 0)
    with suppress(OSError):
        os.close(frozen)


async def test_a_client_has_so_many_files(tmp_path: Path, file: int) -> None:
    """One more is not taken: its client uses a stream."""
    limits = Limits(files=16, files_per_client=1)
    model = ScriptedDisk(sectors=DISK_BYTES // 512)
    async with (
        serving(tmp_path, {"vda": "blk"}, limits=limits) as world,
        world.serve_scripted(model),
    ):
        await world.ready("vda")
        model.hold = True
        importing = asyncio.create_task(FileCaller(world).import_file(file, SIZE))
        await model.arrived(1)
        error = await failure_of(FileCaller(world).import_file(file, SIZE))
        assert isinstance(error, FileNotTaken)
        assert "files-per-client" in error.message
        importing.cancel()


async def test_files_that_hang_give_way_to_others(tmp_path: Path, data: bytes) -> None:
    """Their room is given to who waits for it, as that of clients that send nothing."""
    limits = Limits(
        files=64,
        files_per_client=16,
        data_bytes=4 * MIB,
        data_bytes_per_disk=2 * MIB,
        stalled_ms=50,
    )
    with hanging_fuse(tmp_path / "fuse", range(MIB)) as fuse:
        hanging = os.open(fuse.file, os.O_RDWR)
        async with serving(tmp_path, {"vda": "blk"}, limits=limits) as world, world.serve_disk():
            await world.ready("vda")
            caller = FileCaller(world)
            # Each has a quarter of a MiB at least: not all of them have room.
            imports = []
            for number in range(9):
                imports.append(asyncio.create_task(caller.import_file(hanging, MIB)))
                await until(lambda: files_in_use(world), number + 1)
            async with asyncio.timeout(SOON_S):
                await world.write(2 * MIB, [data[:MIB], data[MIB : 2 * MIB]])
                ended, _ = await asyncio.wait(imports, return_when=asyncio.FIRST_COMPLETED)
                errors = [await failure_of(one) for one in ended]
            assert await world.read(2 * MIB, 2 * MIB) == data[: 2 * MIB]
            fuse.let_go()
            await asyncio.gather(*imports, return_exceptions=True)
    assert all(isinstance(error, LimitReached) for error in errors)
    assert errors[0].metadata["written_bytes"] == "0"
    os.close(hanging)


async def test_tickets_are_good_for_one_call(world: World, file: int) -> None:
    """And for as long as their connection is open; nobody can guess one."""
    async with world.serve_disk():
        await world.ready("vda")
        with reaching(world.folder) as hand:
            ticket = (await hand.give(file)).ticket
            request = pb.ImportRequest(device="vda", length_bytes=MIB, ticket=ticket)
            assert [one async for one in world.disks.Import(request)]
            error = await failure_of(drain(world.disks.Import(request)))
            assert isinstance(error, FileNotTaken)
        with reaching(world.folder) as hand:
            request.ticket = (await hand.give(file)).ticket
        for ticket in (request.ticket, "", "x" * 32, "\u00e9"):
            request.ticket = ticket
            error = await failure_of(drain(world.disks.Import(request)))
            assert isinstance(error, FileNotTaken)


@pytest.mark.parametrize(
    ("count", "packet"),
    [(0, b"\x08\x01"), (2, b"\x08\x01"), (1, b"\xff"), (1, b"\x08\x02"), (1, b"x" * 70_000)],
)
async def test_handovers_that_are_refused(
    world: World, file: int, count: int, packet: bytes
) -> None:
    """No descriptor, two of them, no request, a version that nobody knows, a packet too large."""
    with reaching(world.folder) as hand:
        answer = await hand.give(*[file] * count, packet=packet)
        assert answer.error_reason in {"FILE_NOT_TAKEN", "BAD_STREAM"}
        assert not answer.ticket
    with reaching(world.folder) as hand:
        assert (await hand.give(file)).ticket


async def until(ask: Callable[[], Awaitable[int]], wanted: int) -> None:
    """Wait until an answer is as wanted."""
    async with asyncio.timeout(SOON_S):
        while await ask() != wanted:  # noqa: ASYNC110 - metrics tell nobody
            await asyncio.sleep(0)


async def drain(call: AsyncIterator[object]) -> None:
    """Take all answers of a call."""
    async for _ in call:
        pass
