"""Foreign clients at a real machine: every RPC with hostile bytes, every stream without a word."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from queue import SimpleQueue

import grpc
import pytest

from tests.support.cli import Cli, own_folder
from tests.support.wire import SECONDS, Method, hostile, methods, plain
from virtmesh_common.channel import DEVICE_KEY

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

DEVICES = ("vda", "keyboard", "serial")
KERNEL = ("virtmesh.kernel.", "virtmesh.trace.")
OF_KIND = {"vda": "virtmesh.block.", "keyboard": "virtmesh.input.", "serial": "virtmesh.uart."}
OF_DEVICE = (
    "virtmesh.device.",
    "virtmesh.register.",
    "virtmesh.doorbell.",
    "virtmesh.interrupt.",
    "virtmesh.trace.",
)
HEADERS_SECONDS = 5.0
"""A busy host answers late; a stream without headers never answers."""


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with one device of each kind."""
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=1M", "--input", "keyboard", "--serial", "scrollback=64K")
        yield cli


def address_of(cli: Cli, name: str) -> str:
    """Return the address of a service: "kernel", or the name of a device."""
    if name == "kernel":
        return cli.state.address
    return f"unix:{cli.run_dir / name}.sock"


def logs(cli: Cli) -> str:
    """Return what all services have logged."""
    return "\n".join(path.read_text(errors="replace") for path in cli.run_dir.rglob("*.log"))


def offered(name: str) -> list[Method]:
    """Return the RPCs of a service."""
    return methods(*KERNEL) if name == "kernel" else methods(OF_KIND[name], *OF_DEVICE)


@pytest.mark.parametrize("name", ["kernel", *DEVICES])
def test_no_request_is_a_fault_of_the_service(cli: Cli, name: str) -> None:
    """Whatever the bytes are, the client is told what is wrong with them."""
    tried, wrong = 0, set()
    with grpc.insecure_channel(address_of(cli, name)) as channel:
        for method in offered(name):
            for request in hostile(method.descriptor.input_type):
                code, details = method.end(channel, [request])
                tried += 1
                if code in {"INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE"}:
                    wrong.add((method.path, request[:40].hex(), code, details))

    assert tried > 200
    assert not sorted(wrong)
    assert "Traceback" not in logs(cli)


@pytest.mark.parametrize("name", ["kernel", *DEVICES])
def test_garbage_in_the_middle_of_a_stream_is_an_invalid_argument(cli: Cli, name: str) -> None:
    """A stream that began well ends with the cause, and without a traceback in the log."""
    streams = [method for method in offered(name) if method.streams_requests]
    with grpc.insecure_channel(address_of(cli, name)) as channel:
        ends = {
            method.path: method.end(channel, [plain(method), b"\xff", b"\xff"])
            for method in streams
        }

    assert streams
    refusals = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OK"}
    assert {code for code, _ in ends.values()} <= refusals
    assert "Traceback" not in logs(cli)


@pytest.mark.parametrize("route", ["kernel", *DEVICES, "gateway"])
def test_streams_send_their_headers_at_once(cli: Cli, route: str) -> None:
    """Before the first response, and of a stream that the client begins, before its first word."""
    place, metadata = (route, ()) if route != "gateway" else ("kernel", ((DEVICE_KEY, "keyboard"),))
    found = offered(route) if route != "gateway" else methods("virtmesh.input.", "virtmesh.trace.")
    streams = [method for method in found if method.streams_responses]
    silent = []
    with grpc.insecure_channel(address_of(cli, place)) as channel, ExitStack() as calls:
        for method in streams:
            queue: SimpleQueue[bytes | None] = SimpleQueue()
            calls.callback(queue.put, None)
            if not method.streams_requests:
                queue.put(plain(method))
            call = method.open(channel, iter(queue.get, None), SECONDS, metadata=metadata)
            calls.callback(call.cancel)
            came = threading.Event()
            threading.Thread(
                target=lambda call=call, came=came: (call.initial_metadata(), came.set()),
                daemon=True,
            ).start()
            if not came.wait(HEADERS_SECONDS):
                silent.append(method.path)

    assert streams
    assert not silent
