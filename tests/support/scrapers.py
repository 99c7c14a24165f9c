"""Scrapers of /metrics, honest and hostile, and a server of a page for them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from virtmesh.rpc.locks import NO_LOCKS, Locks
from virtmesh.scraping.page import Measured
from virtmesh.scraping.server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from prometheus_client import Metric


GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"
SECONDS = 60.0
"""Longest wait for anything."""


async def page_of_nothing() -> bytes:
    """Return an empty page."""
    return b""


@asynccontextmanager
async def serving(
    collect: Callable[[], Iterable[Metric]],
    address: str = "127.0.0.1:0",
    labels: Mapping[str, str] | None = None,
    *,
    locks: Locks = NO_LOCKS,
) -> AsyncIterator[MetricsServer]:
    """Serve the page of what `collect` returns, for a while."""
    measured = Measured(collect, labels or {})
    server = MetricsServer(address, measured.page.get, locks)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.close)
        measured.close()


def connect(address: str) -> socket.socket:
    """Connect to unix:PATH or HOST:PORT."""
    if address.startswith("unix:"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(SECONDS)
        peer.connect(address.removeprefix("unix:"))
        return peer
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


def exchange(address: str, request: bytes = GET) -> bytes:
    """Make a request; return the whole answer, with its head."""
    with connect(address) as peer:
        peer.sendall(request)
        return b"".join(iter(lambda: peer.recv(1 << 16), b""))
