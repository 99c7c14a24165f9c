"""Hostile scrapers of /metrics, at a real machine: its clients go on, and so do other scrapers."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import virtmesh_client
from tests.support.cli import Cli, own_folder
from tests.support.descriptors import many_descriptors
from virtmesh.scraping.sparing import BURST, PERIOD_SECONDS

pytestmark = pytest.mark.processes

SILENT = 1005
DESCRIPTORS = 1024
"""The usual limit of a process."""
OWN_DESCRIPTORS = 4096
THREADS = 16
"""More than gRPC starts by itself, and fewer than there are places for connections."""
GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
BOMBS = {
    "endless header": b"GET /metrics HTTP/1.1\r\n" + b"A: " + b"x" * (1 << 20),
    "endless headers": b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * (1 << 18),
    "endless target": b"GET /" + b"x" * (1 << 20),
    "endless body": b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"
    + bytes(1 << 20),
    "no HTTP": bytes(range(256)) * 4096,
    "two lengths": b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


@pytest.fixture(scope="module", autouse=True)
def _many_descriptors() -> Iterator[None]:
    """Let this process have as many connections as an attacker needs."""
    with many_descriptors(OWN_DESCRIPTORS):
        yield


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with a page on TCP, and a kernel with the usual limit of descriptors."""
    with own_folder() as cli:
        (cli.folder / "machine.toml").write_text(
            '[kernel]\nmetrics = "127.0.0.1:0"\n[[devices]]\nname = "vda"\nkind = "blk"\n'
            'options = {image = "disk.img", size = "1M"}\n'
        )
        cli.up("machine.toml")
        pid = cli.process("kernel").pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        yield cli


def connect(address: str) -> socket.socket:
    """Connect to HOST:PORT."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def page(address: str) -> bytes:
    """Return the page; empty if the server refused the connection."""
    with connect(address) as peer:
        peer.sendall(GET)
        with contextlib.suppress(ConnectionError):
            return b"".join(iter(lambda: peer.recv(1 << 16), b""))
    return b""


def insist(address: str) -> bytes:
    """Return the page; ask again as often as it takes: who is slow may lose its place."""
    while not (text := page(address)):
        pass
    return text


def use(cli: Cli) -> None:
    """Be a client with a connection of its own: write to the disk, and read it back."""
    with virtmesh_client.connect(cli.state.address, timeout=20) as machine:
        disk = machine.disk("vda")
        disk.write(0, b"virtmesh" * 64)
        assert disk.read(0, 512) == b"virtmesh" * 64


def costs(cli: Cli) -> tuple[int, int]:
    """Return how many descriptors and threads the kernel service has."""
    process = Path(f"/proc/{cli.process('kernel').pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def test_a_thousand_silent_connections_lock_nobody_out(cli: Cli) -> None:
    """Each costs the service a place for a moment: no thread, and no descriptor that lasts."""
    address = cli.process("kernel").metrics
    use(cli)
    assert b"virtmesh_kernel_requests_total" in page(address)
    before = costs(cli)
    with contextlib.ExitStack() as held:
        for _ in range(SILENT):
            held.enter_context(connect(address))
        use(cli)
        during = costs(cli)
        assert b"virtmesh_kernel_requests_total" in page(address)
        use(cli)
    assert during[0] < before[0] + 64
    assert during[1] < before[1] + THREADS


def test_slow_readers_are_cut_off(cli: Cli) -> None:
    """They ask, and don't read: others get the page meanwhile, and their places come back."""
    address = cli.process("kernel").metrics
    with contextlib.ExitStack() as held:
        for _ in range(100):
            peer = held.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            peer.settimeout(20)
            host, _, port = address.rpartition(":")
            peer.connect((host, int(port)))
            with contextlib.suppress(ConnectionError):
                peer.sendall(GET)
        use(cli)
        assert b"virtmesh_kernel_requests_total" in page(address)
        assert costs(cli)[0] < DESCRIPTORS // 2


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_request_bombs_are_refused(cli: Cli, bomb: bytes) -> None:
    """What is no request, or is too long, is answered with 4xx or cut off at once."""
    address = cli.process("kernel").metrics
    answer = b""
    with connect(address) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(bomb)
        while data := peer.recv(1 << 16):
            answer += data
    assert answer[:10] in {b"", b"HTTP/1.1 4"}
    assert b"virtmesh_kernel_requests_total" in page(address)


def test_a_flood_of_scrapes_costs_few_pages(cli: Cli) -> None:
    """Hundreds at once get pages, of which few are made; a client goes on meanwhile."""
    address = cli.process("kernel").metrics
    begun = time.monotonic()
    before = made(insist(address))
    with ThreadPoolExecutor(64) as pool:
        flood = [pool.submit(insist, address) for _ in range(300)]
        use(cli)
        pages = [one.result() for one in flood]
    after = made(insist(address))
    allowed = BURST + (time.monotonic() - begun) / PERIOD_SECONDS + 1
    assert all(b"virtmesh_kernel_requests_total" in one for one in pages)
    assert after - before <= allowed


def made(text: bytes) -> int:
    """Return how many pages the kernel service says it made."""
    for line in text.splitlines():
        if line.startswith(b"virtmesh_pages_total{machine="):
            return int(float(line.split()[-1]))
    raise AssertionError("the page does not say how many were made")
