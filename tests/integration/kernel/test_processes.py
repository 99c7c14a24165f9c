"""The kernel and its devices as real processes: losing one, bringing it back, and bad starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from virtmesh.kernel.tree import parse_blob
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import kernel_pb2
from virtmesh_common.api.kernel.v1.block_device_pb2_grpc import BlockDeviceServiceStub
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.errors import DeviceLost, DeviceNotReady, from_rpc_error

pytestmark = pytest.mark.processes

SECONDS = 30.0
SIZE = 64 << 20
MACHINE = """
name = "procs"
[[devices]]
name = "vda"
kind = "blk"
"""
READY = kernel_pb2.PROBE_STATE_READY


def command(program: str, *arguments: object) -> list[str]:
    """Return the command line of a service."""
    return [sys.executable, "-m", f"virtmesh.{program}.main", *map(str, arguments)]


@dataclass
class Machine:
    """A kernel and a disk in a folder; both end with the test."""

    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process."""
        process = subprocess.Popen(
            arguments, cwd=self.folder, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def disk(self) -> subprocess.Popen[bytes]:
        """Start the disk."""
        options = ("--listen", "unix:vda.sock", "--image", "vda.img", "--size", SIZE)
        return self.spawn(*command("host", "blk", "--name", "vda", *options))

    def kernel(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Start the kernel."""
        return self.spawn(*command("kernel", *(arguments or ("--machine", "machine.toml"))))

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Open a client's channel."""
        with open_sync_channel(f"unix:{self.folder}/kernel.sock") as channel:
            yield Client(channel)


class Client:
    """A client of the kernel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._kernel = KernelServiceStub(channel)
        self._disks = BlockDeviceServiceStub(channel)

    def device(self) -> kernel_pb2.Device:
        """Return the disk, as the kernel lists it; an empty one while there is no kernel."""
        try:
            request = kernel_pb2.ListDevicesRequest()
            return self._kernel.ListDevices(request, timeout=SECONDS).devices[0]
        except grpc.RpcError:
            return kernel_pb2.Device()

    def until(self, condition: Callable[[kernel_pb2.Device], object]) -> kernel_pb2.Device:
        """Ask until the disk is as it should be."""
        deadline = time.monotonic() + SECONDS
        while not condition(device := self.device()):
            if time.monotonic() > deadline:
                pytest.fail(f"it did not happen in time: {device}")
        return device

    def write(self, pieces: Iterator[bytes]) -> Iterator[int]:
        """Write pieces from the start of the disk; give each progress."""

        def requests() -> Iterator[pb.WriteRequest]:
            yield pb.WriteRequest(header=pb.WriteHeader(device="vda"))
            yield from (pb.WriteRequest(data=piece) for piece in pieces)

        for response in self._disks.Write(requests(), timeout=SECONDS):
            yield response.written_bytes

    def read(self, length: int) -> bytes:
        """Read from the start of the disk."""
        request = pb.ReadRequest(device="vda", length_bytes=length)
        return b"".join(one.data for one in self._disks.Read(request, timeout=SECONDS))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Make a folder with a machine file; end what was started there."""
    (tmp_path / "machine.toml").write_text(MACHINE)
    machine = Machine(tmp_path)
    yield machine
    for process in machine.processes:
        process.kill()
        process.wait()


def endless(piece: bytes) -> Iterator[bytes]:
    """Give the same piece until the disk is full."""
    for _ in range(SIZE // len(piece)):
        yield piece


def test_a_killed_disk_fails_the_copy_and_comes_back(machine: Machine) -> None:
    """The client hears at once, and how far it came; what was written before is there later."""
    disk = machine.disk()
    machine.kernel()
    with machine.client() as client:
        client.until(lambda device: device.state == READY)
        progress = client.write(endless(b"k" * (256 << 10)))
        written = next(progress)
        disk.kill()

        with pytest.raises(grpc.RpcError) as caught:
            list(progress)
        failure = from_rpc_error(caught.value)

        assert isinstance(failure, DeviceLost | DeviceNotReady)
        assert int(failure.metadata["written_bytes"]) >= written
        written = int(failure.metadata["written_bytes"])
        disk.wait()
        client.until(lambda device: device.state != READY)
        machine.disk()
        client.until(lambda device: device.state == READY)
        assert client.read(written) == b"k" * written


def test_a_stopped_kernel_leaves_a_free_disk(machine: Machine) -> None:
    """SIGTERM ends it with 0 and without its socket; the next kernel takes the disk."""
    machine.disk()
    for number in (signal.SIGTERM, signal.SIGINT):
        kernel = machine.kernel()
        with machine.client() as client:
            client.until(lambda device: device.state == READY)
            kernel.send_signal(number)

            assert kernel.wait(SECONDS) == 0
        assert not (machine.folder / "kernel.sock").exists()


def test_a_killed_kernel_leaves_a_free_disk(machine: Machine) -> None:
    """After SIGKILL the disk resets itself; the next kernel starts where nobody listens."""
    machine.disk()
    kernel = machine.kernel()
    with machine.client() as client:
        client.until(lambda device: device.state == READY)
    kernel.kill()
    kernel.wait()

    machine.kernel()

    with machine.client() as client:
        client.until(lambda device: device.state == READY)
        assert client.read(512) == bytes(512)


def test_a_device_tree_is_enough(machine: Machine) -> None:
    """The kernel writes its tree to a file, and starts from one."""
    subprocess.run(
        command("kernel", "--machine", "machine.toml", "--print-dtb", "machine.dtb"),
        cwd=machine.folder,
        check=True,
    )
    tree = machine.folder / "machine.dtb"
    (found,) = parse_blob(tree.read_bytes()).devices
    machine.disk()
    machine.kernel(
        *("--dtb", "machine.dtb", "--listen", "unix:kernel.sock"),
        *("--doorbell", "rpc", "--interrupts", "polling", "--memory", "2M"),
    )

    with machine.client() as client:
        device = client.until(lambda device: device.state == READY)

        assert found.endpoint == f"unix:{machine.folder}/vda.sock"
        assert device.doorbell == "rpc"
        assert client.read(1 << 20) == bytes(1 << 20)


@pytest.mark.parametrize(
    ("arguments", "code", "mend"),
    [
        (["--machine", "none.toml"], 1, "virtmesh-kernel: none.toml: no such machine file"),
        (["--machine", "bad.toml"], 1, "did you mean memory?"),
        (["--dtb", "none.dtb", "--listen", "unix:k.sock"], 1, "cannot be read"),
        (["--dtb", "bad.toml", "--listen", "unix:k.sock"], 1, "device tree:"),
        (["--dtb", "bad.toml"], 1, "add --listen unix:PATH"),
        (["--machine", "machine.toml", "--memory", "5"], 1, "choose a multiple of 4K"),
        (["--machine", "machine.toml", "--metrics", "here"], 1, "write HOST:PORT"),
        (["--machine", "machine.toml", "--listen", "unix:no/k.sock"], 1, "no such folder"),
        (["--machine", "machine.toml", "--listen", "nowhere"], 2, "write unix:PATH"),
        (["--machine", "machine.toml", "--dtb", "x"], 2, "either --machine FILE or --dtb FILE"),
        ([], 2, "either --machine FILE or --dtb FILE"),
    ],
)
def test_bad_starts_end_with_one_line(
    machine: Machine, arguments: list[str], code: int, mend: str
) -> None:
    """The last line on stderr says what is wrong and how to mend it; there is no traceback."""
    (machine.folder / "bad.toml").write_text("memroy = 1")

    done: Any = subprocess.run(
        command("kernel", *arguments),
        cwd=machine.folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.returncode == code
    assert mend in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert os.listdir(machine.folder).count("kernel.sock") == 0  # noqa: PTH208 - names are enough
