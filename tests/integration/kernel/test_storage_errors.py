"""An error of the storage keeps its cause: in the log, the metrics, and the client's error."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from virtmesh_common.blk.errors import BlockIOError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

MIB = 1 << 20
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, or makes loop devices: needs root")


def log_of(cli: Cli) -> str:
    """Return what the disk wrote to its log."""
    return (cli.run_dir / "vda.log").read_text()


def metric(cli: Cli, name: str, *labels: str) -> float:
    """Return the value of a metric of the disk, with all the labels; 0 if it is not there."""
    lines = cli("metrics", "-d", "vda").stdout.splitlines()
    found = (one for one in lines if one.startswith(name) and all(map(one.__contains__, labels)))
    return next((float(one.split()[-1]) for one in found), 0.0)


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mount a file system at a folder."""
    folder.mkdir()
    subprocess.run(["mount", *options, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def loop_device(file: Path) -> Iterator[Path]:
    """Make a loop device of a file."""
    made = subprocess.run(
        ["losetup", "--find", "--show", file], check=True, capture_output=True, text=True
    )
    device = made.stdout.strip()
    try:
        yield Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@as_root
def test_a_full_file_system_is_named_everywhere(cli: Cli) -> None:
    """ENOSPC travels from the write of the device's thread to the client, with the sector."""
    with mounted(cli.folder / "small", "-t", "tmpfs", "-o", "size=1M", "tmpfs"):
        cli.up("--no-serial", "--disk", "small/disk.img,size=16M")
        with virtmesh_client.connect(cli.state.address) as machine:
            with pytest.raises(BlockIOError, match="No space left on device") as caught:
                machine.disk("vda").write(4 * MIB, bytes(2 * MIB))
            assert caught.value.metadata["cause"] == "ENOSPC"
            assert caught.value.metadata["errno"] == "28"
            sector = caught.value.metadata["sector"]
            assert 4 * MIB <= int(sector) * 512 < 6 * MIB
        eventually(lambda: "a request failed" in log_of(cli))
        line = next(one for one in log_of(cli).splitlines() if "a request failed" in one)
        for fact in ("ENOSPC", "errno=28", "type=OUT", "small/disk.img", "sector="):
            assert fact in line, line
        assert metric(cli, "virtmesh_blk_failures_total", 'cause="ENOSPC"', 'type="OUT"') >= 1
        ran = cli("blk", "zero", "vda", "--offset", "8M", "--length", "2M")
        assert ran.returncode == 1
        assert "VIRTIO_BLK_T_WRITE_ZEROES at sector " in ran.stderr
        assert "No space left on device" in ran.stderr
        cli("down")


@as_root
def test_a_block_device_that_fails_is_named(cli: Cli) -> None:
    """EIO, by a loop device whose file became shorter."""
    backing = cli.folder / "backing"
    backing.write_bytes(bytes(8 * MIB))
    with loop_device(backing) as device:
        cli.up("--no-serial", "--disk", device)
        os.truncate(backing, MIB)
        with virtmesh_client.connect(cli.state.address) as machine:
            with pytest.raises(BlockIOError, match="Input/output error") as caught:
                machine.disk("vda").read(4 * MIB, 4096)
            assert (caught.value.metadata["cause"], caught.value.metadata["errno"]) == ("EIO", "5")
            assert machine.disk("vda").read(0, 512) == bytes(512)
        assert metric(cli, "virtmesh_blk_failures_total", 'cause="EIO"', 'type="IN"') >= 1
        cli("down")


def test_an_image_that_is_cut_off_is_named(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """The error, the log, `blk info` and a metric say so; each request has its own cause."""
    os.truncate(cli.folder / "disk.img", MIB)
    disk = machine.disk("vda")
    for _ in range(3):
        with pytest.raises(BlockIOError, match="someone cut it off") as caught:
            disk.read(8 * MIB, 4096)
        assert (caught.value.metadata["cause"], caught.value.metadata["errno"]) == (
            "TRUNCATED",
            "0",
        )
    eventually(lambda: "cut off" in disk.info().image.trouble)
    assert metric(cli, "virtmesh_blk_image_trouble") == 1
    assert (
        "cut off: the file has 1048576 bytes, the disk 16777216" in cli("blk", "info", "vda").stdout
    )
    assert disk.read(0, 512) == bytes(512)


def test_a_write_that_the_owner_forbids_has_another_cause(machine: virtmesh_client.Machine) -> None:
    """REFUSED, though the request before it failed for another reason."""
    disk = machine.disk("vda")
    disk.set_read_only(True)
    with pytest.raises(BlockIOError) as caught:
        disk.write(4096, bytes(512))
    assert caught.value.metadata["cause"] == "REFUSED"
    assert caught.value.metadata["sector"] == "8"
    disk.set_read_only(False)
    disk.write(0, bytes(512))


def test_a_disk_that_was_started_read_only_says_how_to_change_that(cli: Cli) -> None:
    """The advice is not the command that failed."""
    (cli.folder / "disk.img").write_bytes(bytes(MIB))
    cli.up("--no-serial", "--disk", "disk.img,ro")
    ran = cli("blk", "read-only", "vda", "off")
    assert ran.returncode == 1
    assert "was started read-only: to allow writes, start it without `ro`" in ran.stderr
    assert "blk read-only" not in ran.stderr


def test_an_image_that_is_deleted_or_replaced_is_told(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """The disk goes on with its file; the log, `blk info` and a metric say what has happened."""
    disk, image = machine.disk("vda"), cli.folder / "disk.img"
    assert disk.info().image.trouble == ""
    image.rename(cli.folder / "moved.img")
    eventually(lambda: "deleted or renamed" in disk.info().image.trouble)
    other = cli.folder / "other.img"
    other.write_bytes(bytes(16 * MIB))
    other.rename(image)
    eventually(lambda: "replaced: another file" in disk.info().image.trouble)
    assert metric(cli, "virtmesh_blk_image_trouble") == 1
    (cli.folder / "moved.img").rename(image)
    eventually(lambda: not disk.info().image.trouble)
    told = [one for one in log_of(cli).splitlines() if "the image is" in one]
    assert len(told) == 3, told


@as_root
def test_an_image_of_a_loop_device_is_refused(cli: Cli) -> None:
    """It takes no lock; its two writers would destroy a file system."""
    image = cli.folder / "disk.img"
    image.write_bytes(bytes(MIB))
    with loop_device(image) as device:
        ran = cli("up", "--detach", "--no-serial", "--disk", "disk.img")
        assert ran.returncode == 1
        assert f"in use by the loop device {device}" in ran.stderr
        assert f"losetup -d {device}" in ran.stderr
    cli.up("--no-serial", "--disk", "disk.img")
    with loop_device(image), virtmesh_client.connect(cli.state.address) as machine:
        eventually(lambda: "in use by the loop device" in machine.disk("vda").info().image.trouble)


@pytest.mark.parametrize(
    ("content", "option", "words"),
    [
        (b"QFI\xfb\0\0\0\3", "", "a qcow2 image, and only raw ones are served"),
        (b"", ",size=32M", "has 1048576 bytes, not the 33554432 that the size says"),
        (b"", ",serial=" + "x" * 30, "is not at most 20 printable"),
    ],
)
def test_a_disk_that_makes_no_sense_is_refused_before_anything_starts(
    cli: Cli, content: bytes, option: str, words: str
) -> None:
    """No process was started, so that none has a log."""
    (cli.folder / "disk.img").write_bytes(content.ljust(MIB, b"\0"))
    ran = cli("up", "--detach", "--no-serial", "--disk", f"disk.img{option}")
    assert ran.returncode == 1
    assert words in ran.stderr
    assert not list(cli.run_dir.glob("vd*.log"))


def test_a_crash_restart_makes_no_empty_image(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """The image was lost: an empty disk in its place would be data lost in silence."""
    (cli.folder / "disk.img").unlink()
    os.kill(cli.process("vda").pid, 9)
    eventually(
        lambda: "the image is gone, and a restart after a crash makes no new one" in log_of(cli)
    )
    assert not (cli.folder / "disk.img").exists()
    assert machine.devices()[0].state != "ready"


def test_a_crash_restart_takes_what_the_guest_wrote(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """The header of a container, and a resize, keep no disk from coming back."""
    disk = machine.disk("vda")
    disk.write(0, b"QFI\xfb\0\0\0\3")
    disk.resize(32 * MIB)
    disk.flush()
    os.kill(cli.process("vda").pid, 9)
    eventually(lambda: machine.devices()[0].state != "ready")
    eventually(lambda: machine.devices()[0].state == "ready")
    assert disk.read(0, 4) == b"QFI\xfb"
    assert disk.info().capacity_bytes == 32 * MIB
