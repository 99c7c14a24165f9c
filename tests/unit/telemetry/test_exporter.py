"""The metrics page."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from virtmesh.telemetry.exporter import MetricsServer
from virtmesh_common.errors import AddressTaken


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
