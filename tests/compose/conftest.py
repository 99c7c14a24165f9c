"""The stack of docker-compose.yml, started once for the tests in this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from tools.stack import find_compose
from virtmesh_client import Credentials, Machine, connect
from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.channel import open_sync_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import grpc
    from docker.models.containers import Container

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = Path(sys.executable).parent
BUILD_SECONDS = 1200
PROJECT_LABEL = "com.docker.compose.project"
WITH_CPU = "docker-compose.yml:deploy/compose/cpu.yml"
"""Value of COMPOSE_FILE."""
SERVICE_LABEL = "com.docker.compose.service"


class Stack:
    """A stack under a project name and on ports of its own, beside any other of this host."""

    def __init__(self, client: docker.DockerClient, settings: Mapping[str, str]) -> None:
        self.client = client
        self._undo = ExitStack()
        self.project = f"virtmesh-test-{uuid.uuid4().hex[:8]}"
        self._mine: dict[str, str | list[str] | bool] = {"label": f"{PROJECT_LABEL}={self.project}"}
        # An empty port is any free one.
        names = ("VIRTMESH_PORT", "VIRTMESH_PANEL_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
        ports = dict.fromkeys(names, "")
        self._environment = {
            **os.environ,
            **ports,
            **settings,
            "COMPOSE_PROJECT_NAME": self.project,
        }

    def down(self) -> None:
        """Take all of it away, with its volumes."""
        self._undo.close()
        self.run("down", "--volumes")

    def run(self, *arguments: str) -> None:
        """Run tools/stack.py on this stack; it says itself what goes wrong."""
        subprocess.run(
            [sys.executable, ROOT / "tools" / "stack.py", *arguments],
            env=self._environment,
            check=True,
            timeout=BUILD_SECONDS,
        )

    def certs(self, *arguments: str) -> bytes:
        """Run `virtmesh certs` in the stack, as the README does; return what it prints."""
        return self.once("certs", "certs", *arguments)

    def once(self, service: str, *arguments: str) -> bytes:
        """Run a service that ends; return what it prints."""
        done = subprocess.run(
            [*find_compose(), "run", "--rm", "-T", service, *arguments],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
            timeout=120,
        )
        return done.stdout

    def issue(self, name: str, role: str) -> bytes:
        """Issue a certificate; return its bundle."""
        return self.certs("issue", "--role", role, name, "-")

    @cached_property
    def bundle(self) -> Path:
        """A bundle that the stack has issued to its owner, for clients of these tests."""
        folder = tempfile.TemporaryDirectory(prefix="virtmesh-stack-")
        self._undo.callback(folder.cleanup)
        path = Path(folder.name) / "test.pem"
        path.write_bytes(self.issue("test", "owner"))
        return path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a client that may do everything."""
        return {**os.environ, "VIRTMESH_CREDENTIALS": str(self.bundle)}

    def connect(self) -> Machine:
        """Connect to the machine, as its owner."""
        credentials = Credentials.from_bundle(self.bundle)
        return connect(self.address("kernel", 50051), credentials=credentials)

    def channel(self) -> grpc.Channel:
        """Open a channel to the kernel service, as its owner."""
        credentials = Credentials.from_bundle(self.bundle).of_channel()
        return open_sync_channel(self.address("kernel", 50051), credentials=credentials)

    def virtmesh(self, *arguments: str) -> str:
        """Run the command `virtmesh` against the stack; return what it prints."""
        done = subprocess.run(
            [SCRIPTS / "virtmesh", "--address", self.address("kernel", 50051), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    @property
    def services(self) -> dict[str, Container]:
        """The containers by service."""
        found = self.client.containers.list(all=True, filters=self._mine)
        return {container.labels[SERVICE_LABEL]: container for container in found}

    def address(self, service: str, port: int) -> str:
        """Return where a published port of a service is on this host."""
        (binding,) = self.services[service].ports[f"{port}/tcp"] or [{}]
        return f"{binding['HostIp']}:{binding['HostPort']}"

    def wait_until_ready(self) -> None:
        """Wait until the kernel service has brought up all its devices."""
        with self.channel() as channel:
            kernel = kernel_pb2_grpc.KernelServiceStub(channel)

            def ready() -> bool:
                devices = kernel.ListDevices(kernel_pb2.ListDevicesRequest(), timeout=10).devices
                return all(device.state == kernel_pb2.PROBE_STATE_READY for device in devices)

            self.eventually(ready, "all devices are ready")

    def get(self, service: str, port: int, path: str) -> Any:
        """Ask a service over HTTP for some JSON."""
        url = f"http://{self.address(service, port)}/{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def leftovers(self) -> list[str]:
        """Return the ids of everything on this host that belongs to the stack."""
        containers = self.client.containers.list(all=True, filters=self._mine)
        volumes = self.client.volumes.list(filters=self._mine)
        networks = self.client.networks.list(filters=self._mine)
        return [str(thing.id) for thing in (*containers, *volumes, *networks)]

    @staticmethod
    def eventually(done: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Ask until it is so: for what services tell only when they are asked."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.2)


@contextmanager
def with_cpu(
    client: docker.DockerClient, folder: Path, kernel: str, **guest: str
) -> Iterator[Stack]:
    """Start a stack with a CPU and a disk of 1 MiB; `kernel` and settings of the guest are given.

    `folder` has the files that it boots from; `guest` are settings without "VIRTMESH_GUEST_".
    """
    settings = {
        "COMPOSE_FILE": WITH_CPU,
        "VIRTMESH_GUEST": str(folder),
        "VIRTMESH_GUEST_KERNEL": kernel,
        "VIRTMESH_DISK_SIZE": "1M",
        **{f"VIRTMESH_GUEST_{name}": value for name, value in guest.items()},
    }
    stack = Stack(client, settings)
    try:
        stack.run("up")
        stack.wait_until_ready()
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Connect to the Docker engine of this host."""
    doctor = subprocess.run(
        [ROOT / "tools" / "doctor.sh", "docker"], capture_output=True, text=True, check=False
    )
    if doctor.returncode != 0:
        pytest.skip("; ".join(line.strip() for line in doctor.stderr.splitlines()))
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def stack(engine: docker.DockerClient) -> Iterator[Stack]:
    """Start the stack with a disk of 128 MiB, all services healthy and the disk in use."""
    stack = Stack(engine, {"VIRTMESH_DISK_SIZE": "128M"})
    try:
        stack.run("up")
        stack.wait_until_ready()
        yield stack
    finally:
        stack.down()
