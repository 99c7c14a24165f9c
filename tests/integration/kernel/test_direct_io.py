"""Disks past the page cache of the host: what is said of them, and storage of other blocks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.integration.kernel.test_storage_errors import as_root, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

BLOCK = 4096


@pytest.fixture
def large_blocks(tmp_path: Path) -> Iterator[str]:
    """Make a block device whose blocks have 4096 bytes."""
    file = tmp_path / "large-blocks"
    file.write_bytes(bytes(256 * BLOCK))
    made = subprocess.run(
        ["losetup", "--find", "--show", "--sector-size", "4096", file],
        check=True,
        capture_output=True,
        text=True,
    )
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def flags_of(cli: Cli, image: Path) -> list[int]:
    """Return the flags of the files that the disk has open as its image."""
    process = Path(f"/proc/{cli.process('vda').pid}")
    numbers = [one.name for one in (process / "fd").iterdir() if one.resolve() == image.resolve()]
    abouts = [(process / "fdinfo" / number).read_text() for number in numbers]
    lines = [line for about in abouts for line in about.splitlines()]
    return [int(line.split()[1], 8) for line in lines if line.startswith("flags:")]


def rings_of(cli: Cli) -> list[str]:
    """Return what the system says of the rings of io_uring that the disk has."""
    process = Path(f"/proc/{cli.process('vda').pid}")
    numbers = [one.name for one in (process / "fd").iterdir() if "io_uring" in str(one.readlink())]
    return [(process / "fdinfo" / number).read_text() for number in numbers]


def test_a_disk_has_no_ring_but_those_for_its_image(cli: Cli) -> None:
    """Another one, such as libuv's, would do what seccomp forbids."""
    cli.up("--no-serial", "--disk", "disk.img,size=1M,cache=none,queues=2")
    with virtmesh_client.connect(cli.state.address) as machine:
        info = machine.disk("vda").info()
    rings = rings_of(cli)
    assert all("disk.img" in ring for ring in rings), rings
    assert len(rings) == (2 if info.engine == "io_uring" else 0)


def test_a_disk_past_the_page_cache_says_how(cli: Cli) -> None:
    """Its image is open for direct I/O; what was written is there."""
    cli.up("--no-serial", "--disk", "disk.img,size=1M,cache=none")
    data = os.urandom(5 * BLOCK)
    with virtmesh_client.connect(cli.state.address) as machine:
        disk = machine.disk("vda")
        disk.write(3 * BLOCK, data)
        disk.write(512, b"part of a block".ljust(512))
        disk.flush()
        assert disk.read(3 * BLOCK, len(data)) == data
        info = disk.info()

    content = (cli.folder / "disk.img").read_bytes()
    assert content[3 * BLOCK : 8 * BLOCK] == data
    assert content[512:1024].startswith(b"part of a block")
    assert info.bypasses_cache
    assert any(flags & os.O_DIRECT for flags in flags_of(cli, cli.folder / "disk.img"))
    # A container may forbid io_uring.
    forbidden = "the system refuses it" in info.engine_reason
    assert (info.engine, info.engine_reason) == ("io_uring", "") or forbidden
    assert f"{info.engine}, past the page cache" in cli("blk", "info", "vda").stdout


def test_a_disk_through_the_page_cache_says_so(cli: Cli) -> None:
    """That is the default."""
    cli.up("--no-serial", "--disk", "disk.img,size=1M")
    assert "threads, through the page cache" in cli("blk", "info", "vda").stdout
    flags = flags_of(cli, cli.folder / "disk.img")
    assert flags
    assert not any(one & os.O_DIRECT for one in flags)


def test_an_engine_that_moves_no_bytes_says_so(cli: Cli) -> None:
    """Its requests succeed."""
    cli.up("--no-serial", "--disk", "disk.img,size=1M,engine=null")
    with virtmesh_client.connect(cli.state.address) as machine:
        machine.disk("vda").write(0, b"x" * BLOCK)
    assert "moves no bytes" in cli("blk", "info", "vda").stdout
    assert not any((cli.folder / "disk.img").read_bytes())


def test_an_engine_that_can_not_be_had_is_an_error_at_the_start(cli: Cli) -> None:
    """It says why."""
    result = cli("up", "-d", "--no-serial", "--disk", "disk.img,size=1M,engine=io_uring")
    assert result.returncode != 0
    assert "for disks past the page cache" in result.stderr


@as_root
def test_an_image_that_ends_within_a_block_of_the_storage_is_told_its_blocks(
    cli: Cli, large_blocks: str
) -> None:
    """They are not those of the disk, of which it has a whole number."""
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", large_blocks], check=True)
    with mounted(cli.folder / "large", large_blocks):
        (cli.folder / "large" / "disk.img").write_bytes(bytes(BLOCK + 512))
        result = cli("up", "-d", "--no-serial", "--disk", "large/disk.img,cache=none")
    assert result.returncode != 0
    assert "not a multiple of 4096: enlarge it" in result.stderr


@as_root
def test_storage_with_larger_blocks_takes_requests_of_sectors(cli: Cli, large_blocks: str) -> None:
    """The rest of a block is read and written back. It is said that io_uring can't do that."""
    cli.up("--no-serial", "--disk", f"{large_blocks},cache=none")
    expected = bytearray(os.urandom(2 * BLOCK))
    with virtmesh_client.connect(cli.state.address) as machine:
        disk = machine.disk("vda")
        disk.write(0, bytes(expected))
        disk.write(512, b"y" * 512)
        disk.write(BLOCK - 512, b"z" * 1024)
        disk.flush()
        expected[512:1024] = b"y" * 512
        expected[BLOCK - 512 : BLOCK + 512] = b"z" * 1024
        assert disk.read(0, 2 * BLOCK) == bytes(expected)
        info = disk.info()
    assert info.engine == "threads"
    assert "blocks of 4096 bytes" in info.engine_reason
