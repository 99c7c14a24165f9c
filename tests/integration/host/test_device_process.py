"""`virtmesh-device` as a real process: start, service, signals, deaths."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from virtmesh_native import close_later

from tests.support import ROOT
from tests.support.lingering import SOON, lingering_sockets
from virtmesh.attach.client import AttachConnection, AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.testing.scripted_driver import BlkRequest, GrpcRegisters, ScriptedDriver
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.channel import open_channel
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.processes

MIB = 1 << 20
PLAIN = Feature.VIRTIO_F_VERSION_1
COMMAND = [sys.executable, "-m", "virtmesh.host.main", "blk", "--name", "vda"]


@dataclass
class DeviceProcess:
    """A running device service."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self.folder / 'vda.sock'}"

    def wait_until_serving(self) -> list[str]:
        """Wait for the log to say so; return the addresses."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = json.loads(line)
            if event["event"] == "serving":
                addresses: list[str] = event["addresses"]
                return addresses
        raise AssertionError("the device ended without serving")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., DeviceProcess]]:
    """Return what starts a device and waits until it serves; at the end all are gone."""
    with ExitStack() as stack:

        def start_device(*options: str) -> DeviceProcess:
            image = tmp_path / "disk.img"
            process = subprocess.Popen(
                [
                    *COMMAND,
                    *("--listen", f"unix:{tmp_path / 'vda.sock'}", "--log", "json"),
                    *("--image", str(image), "--size", "4M", *options),
                ],
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return DeviceProcess(process, tmp_path)

        yield start_device


@asynccontextmanager
async def attached(address: str, name: str = "test") -> AsyncIterator[ScriptedDriver]:
    """Attach a driver for a while."""
    async with open_channel(address) as channel:
        control: device_pb2_grpc.DeviceServiceAsyncStub = device_pb2_grpc.DeviceServiceStub(channel)
        description = await control.Describe(device_pb2.DescribeRequest())
        doorbells = AttachmentEventfds.make(1)
        with Ram(8 * MIB) as ram:
            line = await AttachConnection.open(
                description.handover_socket, ram, doorbells, timeout_s=10
            )
            try:
                session = await control.Attach(
                    device_pb2.AttachRequest(driver_name=name, ticket=line.ticket)
                )
                yield ScriptedDriver(GrpcRegisters(channel, session.session_id), ram, doorbells)
            finally:
                line.close()
                doorbells.close()


async def test_a_device_serves_health_reflection_and_metrics(
    start: Callable[..., DeviceProcess],
) -> None:
    """Each service is healthy and can be found; the metrics page is where Describe says."""
    device = start("--metrics", "127.0.0.1:0", "--listen", "127.0.0.1:0")
    addresses = device.wait_until_serving()
    tcp = addresses[1]
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d+", tcp)
    async with attached(device.address) as driver, open_channel(tcp) as channel:
        await driver.bring_up(PLAIN)
        await driver.request(BlkRequest.write(0, bytes(512)))
        names = await services_of(channel)
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", *(name for name in names if name.startswith("virtmesh."))):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        control: device_pb2_grpc.DeviceServiceAsyncStub = device_pb2_grpc.DeviceServiceStub(channel)
        description = await control.Describe(device_pb2.DescribeRequest())
        samples = await asyncio.to_thread(scrape, description.metrics_address)
    assert "virtmesh.block.v1.BlockAdminService" in names
    assert samples["virtmesh_blk_requests_total", "vda", "ok", "OUT"] == 1
    assert samples["virtmesh_blk_capacity_bytes", "vda"] == 4 * MIB
    assert samples["virtmesh_attached", "vda"] == 1
    assert samples["virtmesh_notifications_total", "vda", "mmio"] == 1
    assert samples["virtmesh_register_accesses_total", "vda", "write", "QueueNotify"] == 1
    assert device.stop() == 0


async def services_of(channel: Any) -> list[str]:
    """List the services of a server by reflection."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    async for response in call:
        return [service.name for service in response.list_services_response.service]
    return []


def scrape(address: str) -> dict[tuple[str, ...], float]:
    """Read a metrics page: values by name and labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        text = page.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(
    start: Callable[..., DeviceProcess], number: signal.Signals
) -> None:
    """The exit code is 0 and no socket is left."""
    device = start()
    device.wait_until_serving()
    assert device.stop(number) == 0
    assert sorted(path.name for path in device.folder.iterdir()) == ["disk.img"]


async def test_sigterm_drains(start: Callable[..., DeviceProcess]) -> None:
    """Requests that were taken finish: every used one is written, whole, and says OK."""
    device = start()
    device.wait_until_serving()
    payload = os.urandom(256 << 10)
    async with attached(device.address) as driver:
        await driver.bring_up(PLAIN)
        sent = {
            token: (sector, address + length - 1)
            for sector in (0, 512)
            for token, address, length in [driver.add(BlkRequest.write(sector, payload))]
        }
        await driver.ring(0, by="eventfd")
        await driver.used()
        assert await asyncio.to_thread(device.stop) == 0
        image = (device.folder / "disk.img").read_bytes()
        used = driver.queues[0].pop_used()
        assert used
        for token, _ in used:
            sector, status = sent[token]
            assert driver.ram.guest_memory.read(status, 1) == b"\x00"
            assert image[sector * 512 :].startswith(payload)


DRIVER_SCRIPT = """
import asyncio, sys
from tests.integration.host.test_device_process import PLAIN, attached
async def main():
    async with attached(sys.argv[1], "doomed") as driver:
        await driver.bring_up(PLAIN)
        print("ready", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_killed_driver_leaves_a_free_device(
    start: Callable[..., DeviceProcess],
) -> None:
    """SIGKILL of the driver's process resets the device for the next one."""
    device = start()
    device.wait_until_serving()
    doomed = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", DRIVER_SCRIPT, device.address),
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert doomed.stdout is not None
    assert await doomed.stdout.readline() == b"ready\n"
    async with open_channel(device.address) as channel:
        control: device_pb2_grpc.DeviceServiceAsyncStub = device_pb2_grpc.DeviceServiceStub(channel)
        status = await control.GetStatus(device_pb2.GetStatusRequest())
        assert (status.attached, status.driver_name) == (True, "doomed")
        doomed.kill()
        await doomed.wait()
        async with asyncio.timeout(20):
            while (status := await control.GetStatus(device_pb2.GetStatusRequest())).attached:
                pass
        assert status.device_status == 0
    async with attached(device.address) as driver:
        await driver.bring_up(PLAIN)
        assert (await driver.request(BlkRequest.read(0, 512)))[0] == 0
    assert await asyncio.to_thread(device.stop) == 0


def test_a_killed_device_can_be_started_again(start: Callable[..., DeviceProcess]) -> None:
    """Stale sockets and the lock of a killed service are in nobody's way."""
    first = start()
    first.wait_until_serving()
    first.stop(signal.SIGKILL)
    assert (first.folder / "vda.sock").is_socket()
    second = start()
    second.wait_until_serving()
    assert second.stop() == 0


def failure_of(*options: str) -> tuple[int, list[str]]:
    """Start a device that can't; return its exit code and what it says."""
    done = subprocess.run(
        [*COMMAND, *options], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr.splitlines()


def test_an_address_in_use_is_refused(start: Callable[..., DeviceProcess]) -> None:
    """The second service says so in one line, and the first goes on."""
    device = start()
    device.wait_until_serving()
    other = device.folder / "other.img"
    code, lines = failure_of("--listen", device.address, "--image", str(other), "--size", "1M")
    assert code == 1
    assert "another service listens there" in lines[-1]
    assert (device.folder / "vda.sock").is_socket()
    assert device.stop() == 0


def test_an_image_in_use_is_refused(start: Callable[..., DeviceProcess]) -> None:
    """One line says who is in the way."""
    device = start()
    device.wait_until_serving()
    image = str(device.folder / "disk.img")
    code, lines = failure_of("--listen", "127.0.0.1:0", "--image", image)
    who = rf"in use by .+ \(pid {device.process.pid}\)"
    assert code == 1
    (line,) = lines
    assert re.search(rf"disk\.img: {who}: stop it, or use a copy of the image$", line), line
    assert device.stop() == 0


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("none.img", None, "no such image: create one with --size 64M"),
        ("odd.img", 1000, "1000 bytes is not a multiple of 512 bytes: fill it up with truncate"),
        ("empty.img", 0, "the image is empty"),
        (".", None, "a folder is no image"),
    ],
)
def test_images_that_can_not_be_used(
    tmp_path: Path, name: str, size: int | None, words: str
) -> None:
    """One line on stderr with the mend, exit code 1, no traceback."""
    path = tmp_path / name
    if size is not None:
        path.write_bytes(bytes(size))
    code, lines = failure_of("--listen", f"unix:{tmp_path / 'vda.sock'}", "--image", str(path))
    assert code == 1
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(
    "options",
    [
        ["--image", "x"],
        ["--listen", "nonsense", "--image", "x"],
        ["--listen", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0", "--image", "x", "--queues", "0"],
        ["--listen", "127.0.0.1:0", "--image", "x", "--size", "many"],
        ["--listen", "127.0.0.1:0", "--image", "x", "--block-size", "1000"],
        ["--listen", "127.0.0.1:0", "--image", "x", "--name", "VDA!"],
    ],
)
def test_wrong_usage(options: list[str]) -> None:
    """The exit code is 2, and the last line says what is wrong."""
    code, lines = failure_of(*options)
    assert code == 2
    assert lines[-1].startswith("Error: ")


async def test_a_device_that_holds_lingering_descriptors_ends_in_time(
    start: Callable[..., DeviceProcess],
) -> None:
    """Refused, unread, and in the queues of others: the end of the process waits for none."""
    device = start()
    device.wait_until_serving()
    handover = device.folder / "vda.sock.handover"
    with lingering_sockets() as lingering, ExitStack() as stack:
        for _ in range(4):
            stranger = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            stranger.connect(str(handover))
            for make in (lingering.make, lingering.nested):
                descriptor = make()
                with suppress(OSError):  # It may have been refused, and hung up on.
                    socket.send_fds(stranger, [b"?"], [descriptor])
                close_later(descriptor)
        begun = time.monotonic()
        assert device.stop() == 0
        assert time.monotonic() - begun < SOON
