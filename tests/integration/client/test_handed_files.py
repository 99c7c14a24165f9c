"""Copies of files on one host go past gRPC by themselves, and look as they always did."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import SECONDS
from tests.support.killing import pid_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from tests.support.cli import Cli
    from virtmesh_client import Machine

pytestmark = pytest.mark.processes

MIB = 1 << 20
SIZE = 9 * MIB + 5


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a file with a run of zeroes."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 * MIB) + bytes(3 * MIB) + os.urandom(SIZE - 6 * MIB))
    return path


def calls(machine: Machine, method: str) -> int:
    """Return how many calls of a method of BlockDeviceService its kernel service has had."""
    page = machine.metrics()
    name = f'grpc_method="{method}"'
    rows = [
        line
        for line in page.splitlines()
        if line.startswith("grpc_server_started_total{")
        and name in line
        and "kernel.v1.BlockDeviceService" in line
    ]
    return sum(int(float(line.split()[-1])) for line in rows)


def test_a_copy_is_exact_and_tells_of_itself(
    machine: Machine, source: Path, tmp_path: Path
) -> None:
    """In, out, its digest, its progress, and the holes of what came out."""
    disk, told = machine.disk("vda"), [0]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    copy = disk.import_from(source, offset=4099, verify=True, progress=told.append)
    assert (calls(machine, "Import"), calls(machine, "Write")) == (1, 0)
    assert (copy.bytes, copy.sha256, copy.verified) == (SIZE, digest, True)
    assert told[-1] == SIZE
    assert told == sorted(told)
    target = tmp_path / "target"
    copy = disk.export_to(target, offset=4099, length=SIZE)
    assert calls(machine, "Export") == 1
    assert (copy.bytes, copy.sha256) == (SIZE, digest)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < SIZE - 2 * MIB


def test_without_a_digest(machine: Machine, source: Path, tmp_path: Path) -> None:
    """Nobody hashes; a verification does all the same."""
    disk = machine.disk("vda")
    assert disk.import_from(source, digest=False).sha256 == ""
    assert disk.export_to(tmp_path / "target", length=SIZE, digest=False).sha256 == ""
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert disk.import_from(source, digest=False, verify=True).verified


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_file_goes_on_from_where_it_stands(
    machine: Machine, source: Path, buffering: int
) -> None:
    """And stands at its end afterwards."""
    disk = machine.disk("vda")
    with source.open("rb", buffering=buffering) as file:
        file.read(100)
        copy = disk.import_from(file)
        assert file.tell() == SIZE
        assert file.read() == b""
    assert copy.bytes == SIZE - 100
    assert disk.read(0, SIZE - 100) == source.read_bytes()[100:]


def test_what_is_no_plain_file_goes_by_a_stream(machine: Machine, source: Path) -> None:
    """Bytes in memory, and a pipe: what is read of them is copied."""
    disk, data = machine.disk("vda"), source.read_bytes()
    reading, writing = os.pipe()
    feeding = threading.Thread(target=lambda: feed(writing, data))
    feeding.start()
    sources: list[BinaryIO] = [io.BytesIO(data), os.fdopen(reading, "rb")]
    for one in sources:
        disk.write_zeroes(0, 10 * MIB)
        assert disk.import_from(one).bytes == SIZE
        assert disk.read(0, SIZE) == data
    feeding.join(SECONDS)
    sources[1].close()
    assert (calls(machine, "Import"), calls(machine, "Write")) == (0, 2)


def feed(descriptor: int, data: bytes) -> None:
    """Write to a pipe, and close it."""
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


def test_a_source_that_is_truncated(cli: Cli, source: Path) -> None:
    """It is an error of the file, with an account of what is written."""
    size = 256 * MIB
    os.truncate(source, size)
    cli.up("--no-serial", "--disk", f"disk.img,size={size}")
    with (
        virtmesh_client.connect(cli.state.address) as machine,
        pytest.raises(OSError, match="early: was it truncated") as caught,
    ):
        machine.disk("vda").import_from(source, progress=lambda _: os.truncate(source, MIB))
    assert caught.value.filename == str(source)
    assert "are written" in caught.value.__notes__[0]


@pytest.mark.parametrize("victim", ["vda", "kernel"])
def test_a_service_that_is_killed_during_copies(
    cli: Cli, source: Path, tmp_path: Path, victim: str
) -> None:
    """Each copy is exact, wherever the death comes."""
    size = 96 * MIB
    block = os.urandom(MIB)
    source.write_bytes(b"".join(block[number:] + block[:number] for number in range(96)))
    cli.up("--no-serial", "--disk", f"disk.img,size={size}")
    with virtmesh_client.connect(cli.state.address, retry_for=SECONDS) as machine:
        disk = machine.disk("vda")
        for delay in (0.0, 0.02, 0.1):
            killer = threading.Timer(delay, lambda: os.kill(pid_of(cli, victim), signal.SIGKILL))
            killer.start()
            copy = disk.import_from(source)
            killer.join()
            assert copy.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
            target = tmp_path / f"target-{delay}"
            assert disk.export_to(target).sha256 == copy.sha256
            assert target.read_bytes() == source.read_bytes()
