"""The metrics page."""

from __future__ import annotations

import asyncio
import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import closing

import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from virtmesh.telemetry.exporter import MetricsServer
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

    server = MetricsServer("127.0.0.1:0", collect, labels={"device": "vda"})
    pages = [await asyncio.to_thread(read, server.address) for _ in range(2)]
    await asyncio.to_thread(server.close)
    assert threads == [threading.main_thread()] * 2
    assert 'virtmesh_looks_total{device="vda"} 1.0' in pages[0]
    assert 'virtmesh_looks_total{device="vda"} 2.0' in pages[1]
    assert "process_cpu_seconds_total" in pages[0]


@pytest.mark.parametrize("address", ["", "9464", "host:", "host:http", "127.0.0.1:70000"])
async def test_addresses_that_are_none(address: str) -> None:
    """The error shows the form."""
    with pytest.raises(ValueError, match="write HOST:PORT"):
        MetricsServer(address, tuple)


async def test_an_address_in_use() -> None:
    """Two pages need two addresses."""
    server = MetricsServer("127.0.0.1:0", tuple)
    with pytest.raises(AddressTaken, match=server.address):
        MetricsServer(server.address, tuple)
    await asyncio.to_thread(server.close)


def ask(address: str, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """Make one request; return its status, headers and content."""
    host, _, port = address.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


async def test_only_metrics_and_an_index_are_there() -> None:
    """Another path is not found, HEAD is like GET, other methods name those that are allowed."""
    server = MetricsServer("127.0.0.1:0", lambda: [CounterMetricFamily("looks", "L", value=1)])

    async def asked(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.to_thread(ask, server.address, method, path)

    got = await asked("GET", "/metrics")
    queried = await asked("GET", "/metrics?x=1")
    head = await asked("HEAD", "/metrics")
    index = await asked("GET", "/")
    index_head = await asked("HEAD", "/")
    missing = [await asked(method, path) for method in ("GET", "HEAD") for path in NOWHERE]
    refused = [await asked(method, "/metrics") for method in ("POST", "PUT", "DELETE")]
    options = await asked("OPTIONS", "/metrics")
    await asyncio.to_thread(server.close)

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
