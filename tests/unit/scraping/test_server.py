"""The metrics page."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import threading
import urllib.request
from collections.abc import Iterable
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from tests.support.cli import eventually
from tests.support.scrapers import GET, connect, exchange, page_of_nothing, serving
from virtmesh.scraping import connection
from virtmesh.scraping.server import CONNECTIONS_MAX, MetricsServer
from virtmesh_common.errors import AddressTaken

NOWHERE = ("/x", "/metrics/", "/favicon.ico", "/metrics%00")


def read(address: str) -> str:
    """Read the page."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
        text: str = page.read().decode()
    return text


async def test_metrics_are_collected_on_the_loop_when_asked_for() -> None:
    """Each page is a fresh look, with the labels of the service added."""
    threads: list[threading.Thread] = []

    def collect() -> Iterable[Metric]:
        threads.append(threading.current_thread())
        yield CounterMetricFamily("virtmesh_looks", "Looks", value=len(threads))

    async with serving(collect, labels={"device": "vda"}) as server:
        pages = [await asyncio.to_thread(read, server.address) for _ in range(2)]
    assert threads == [threading.main_thread()] * 2
    assert 'virtmesh_looks_total{device="vda"} 1.0' in pages[0]
    assert 'virtmesh_looks_total{device="vda"} 2.0' in pages[1]
    assert "process_cpu_seconds_total" in pages[0]


@pytest.mark.parametrize("address", ["", "9464", "host:", "host:http", "127.0.0.1:70000", "unix:"])
async def test_addresses_that_are_none(address: str) -> None:
    """The error shows the form."""
    with pytest.raises(ValueError, match="write HOST:PORT or unix:PATH"):
        MetricsServer(address, page_of_nothing)


async def test_an_address_in_use(tmp_path: Path) -> None:
    """Two pages need two addresses, TCP or unix."""
    for address in ("127.0.0.1:0", f"unix:{tmp_path}/m.sock"):
        async with serving(tuple, address) as server:
            with pytest.raises(AddressTaken, match=re.escape(server.address.removeprefix("unix:"))):
                MetricsServer(server.address, page_of_nothing)


async def test_a_page_on_a_unix_socket(tmp_path: Path) -> None:
    """The owner and the group may read it; the socket goes with its server."""
    path = tmp_path / "m.sock"
    async with serving(tuple, f"unix:{path}") as server:
        mode = path.stat().st_mode & 0o777
        page = await asyncio.to_thread(exchange, server.address, GET)
    assert (server.address, mode) == (f"unix:{path}", 0o660)
    assert page.startswith(b"HTTP/1.1 200 ")
    assert b"process_cpu_seconds_total" in page
    assert not path.exists()


async def test_a_page_that_cannot_be_made_is_an_error() -> None:
    """The scraper is told so, and the server goes on."""

    def collect() -> Iterable[Metric]:
        raise RuntimeError("on purpose")

    async with serving(collect) as server:
        answers = [await asyncio.to_thread(ask, server.address, "GET", "/metrics") for _ in "ab"]
        index = await asyncio.to_thread(ask, server.address, "GET", "/")
    assert [status for status, _, _ in answers] == [500, 500]
    assert index[0] == 200


def ask(address: str, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Make one request; return its status, headers and content."""
    host, _, port = address.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


async def test_only_metrics_and_an_index_are_there() -> None:
    """Another path is not found, HEAD is like GET, other methods name those that are allowed."""

    async def asked(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.to_thread(ask, server.address, method, path)

    async with serving(lambda: [CounterMetricFamily("looks", "L", value=1)]) as server:
        got = await asked("GET", "/metrics")
        queried = await asked("GET", "/metrics?x=1")
        head = await asked("HEAD", "/metrics")
        index = await asked("GET", "/")
        index_head = await asked("HEAD", "/")
        missing = [await asked(method, path) for method in ("GET", "HEAD") for path in NOWHERE]
        refused = [await asked(method, "/metrics") for method in ("POST", "PUT", "DELETE")]
        options = await asked("OPTIONS", "/metrics")

    assert (got[0], b"looks_total 1.0" in got[2]) == (200, True)
    assert (queried[0], b"looks_total 1.0" in queried[2]) == (200, True)
    assert (head[0], head[2]) == (200, b"")
    assert head[1]["content-type"] == got[1]["content-type"]
    assert int(head[1]["content-length"]) > 1000
    assert (index[0], b'href="/metrics"' in index[2]) == (200, True)
    assert (index_head[0], index_head[2]) == (200, b"")
    assert {status for status, _, _ in missing} == {404}
    assert {(status, headers["allow"]) for status, headers, _ in refused} == {
        (405, "GET, HEAD, OPTIONS")
    }
    assert (options[0], options[1]["allow"], options[2]) == (204, "GET, HEAD, OPTIONS", b"")


async def test_a_reader_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that its socket can't hold is not kept for it: the connection ends in its time."""
    patient = connection.ANSWER_SECONDS
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    big = [GaugeMetricFamily(f"virtmesh_{n}", "x" * 4096, value=n) for n in range(4096)]
    async with serving(lambda: big) as server:
        with connect(server.address) as slow:
            slow.sendall(GET)
            await asyncio.to_thread(until_cut_off, server, "slow", 1)
            monkeypatch.setattr(connection, "ANSWER_SECONDS", patient)
            other = await asyncio.to_thread(exchange, server.address)
    assert other.count(b"\n") > 3 * 4096


async def test_a_silent_connection_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So has one that sends a byte now and then: the time is that of the whole request."""
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.2)
    async with serving(tuple) as server:
        with connect(server.address) as silent, connect(server.address) as dripping:
            dripping.sendall(GET[:10])
            await asyncio.to_thread(until_cut_off, server, "silent", 2)
            for peer in (silent, dripping):
                with suppress(ConnectionError):
                    assert peer.recv(1) == b""


async def test_the_oldest_silent_connection_makes_room() -> None:
    """Newer ones stay, and a scraper gets its page."""
    async with serving(tuple) as server, AsyncExitStack() as held:
        peers = [held.enter_context(connect(server.address)) for _ in range(CONNECTIONS_MAX)]
        page = await asyncio.to_thread(exchange, server.address)
        first = await asyncio.to_thread(peers[0].recv, 1)
        await asyncio.to_thread(peers[-1].sendall, GET)
        last = await asyncio.to_thread(peers[-1].recv, 12)
    assert page.startswith(b"HTTP/1.1 200 ")
    assert (first, last) == (b"", b"HTTP/1.1 200")


async def test_closing_does_not_wait_for_peers() -> None:
    """Silent ones and slow ones are cut off."""
    async with serving(tuple) as server:
        peers = [connect(server.address) for _ in range(3)]
        peers[0].sendall(GET[:10])
    for peer in peers:
        with peer, suppress(ConnectionError):
            assert peer.recv(1) == b""


def until_cut_off(server: MetricsServer, reason: str, times: int) -> None:
    """Wait until the server says that it cut off so many connections for a reason."""
    eventually(
        lambda: any(
            (sample.labels.get("reason"), sample.value) == (reason, times)
            for metric in server.metrics()
            for sample in metric.samples
        )
    )


def open_now(server: MetricsServer) -> float:
    """Return how many connections a server has."""
    name = "virtmesh_metrics_connections"
    found = next(metric for metric in server.metrics() if metric.name == name)
    return float(found.samples[0].value)


async def test_more_scrapers_than_places_wait_for_one() -> None:
    """Nobody who has asked is cut off for another: the next ones wait until somebody has a page."""
    made = asyncio.Event()

    async def page() -> bytes:
        await made.wait()
        return b"looks_total 1.0\n"

    server = MetricsServer("127.0.0.1:0", page)
    with ExitStack() as asking:
        try:
            peers: list[socket.socket] = []
            while len(peers) < 3 * CONNECTIONS_MAX:
                peers.append(asking.enter_context(connect(server.address)))
                peers[-1].sendall(GET)
            while open_now(server) < CONNECTIONS_MAX:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
            made.set()
            answers = await asyncio.to_thread(lambda: [read_all(peer) for peer in peers])
        finally:
            made.set()
            await asyncio.to_thread(server.close)
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}


def read_all(peer: socket.socket) -> bytes:
    """Return what a peer is sent, to the end."""
    return b"".join(iter(lambda: peer.recv(1 << 16), b""))
