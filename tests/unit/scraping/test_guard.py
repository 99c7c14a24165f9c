"""Who may read a page over TCP: TLS with certificates of the machine, or nobody from outside."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from tests.support.cli import eventually
from tests.support.scrapers import GET, connect, exchange, page_of_nothing, serving
from tests.support.secured import People
from virtmesh.rpc.locks import Locks
from virtmesh.scraping import connection
from virtmesh.scraping.server import CONNECTIONS_MAX, MetricsServer
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.bundle import Bundle
from virtmesh_common.security.errors import Unprotected
from virtmesh_common.security.roles import Role
from virtmesh_common.security.server_files import CA

ANYWHERE = "0.0.0.0"  # noqa: S104 - that is what is tested
OUTSIDE = f"{ANYWHERE}:0"
LONG = [GaugeMetricFamily(f"virtmesh_long_{n}", "x" * 4096, value=n) for n in range(1100)]
"""Metrics of a page of more than 4 MiB."""


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Return an authority, and a certificate of each role."""
    return People(tmp_path)


@asynccontextmanager
async def secured(
    people: People, collect: Callable[[], Iterable[Metric]] = tuple
) -> AsyncIterator[MetricsServer]:
    """Serve a page behind TLS."""
    async with serving(collect, OUTSIDE, locks=Locks(people.folder)) as server:
        yield server


def scrape(server: MetricsServer, people: People, bundle: Bundle | None) -> tuple[int, bytes]:
    """Scrape with a certificate or without; return status and page."""
    return answer_of(connected(server, people, bundle))


async def test_every_role_may_scrape_with_a_certificate(people: People) -> None:
    """That of an observer suffices."""
    async with secured(people) as server:
        for role in Role:
            status, page = await asyncio.to_thread(scrape, server, people, people.bundles[role])
            assert (status, b"process_cpu_seconds_total" in page) == (200, True)
        assert server.warnings == []


async def test_a_long_page_comes_whole(people: People) -> None:
    """Longer than what sockets and the transport of TLS hold together."""
    async with secured(people, lambda: LONG) as server:
        status, page = await asyncio.to_thread(
            scrape, server, people, people.bundles[Role.OBSERVER]
        )
    assert status == 200
    assert page.count(b"\nvirtmesh_long_") == len(LONG)
    assert len(page) > 4 << 20


async def test_strangers_are_refused(people: People, tmp_path: Path) -> None:
    """Without a certificate, with that of another authority, one that has expired, or plaintext."""
    (tmp_path / "other").mkdir()
    strangers = {
        "nobody": None,
        "another authority": People(tmp_path / "other").bundles[Role.OWNER],
        "expired": people.issue(Role.OWNER, "late", age=3),
        "not yet": people.issue(Role.OWNER, "early", age=-1),
    }
    async with secured(people) as server:
        for stranger in strangers.values():
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                await asyncio.to_thread(scrape, server, people, stranger)
        address = server.address.replace(ANYWHERE, "127.0.0.1")
        with suppress(ConnectionError):
            assert b"HTTP" not in await asyncio.to_thread(exchange, address, GET)
        status, _ = await asyncio.to_thread(scrape, server, people, people.bundles[Role.OBSERVER])
        assert status == 200


async def test_revoking_counts_at_once(people: People) -> None:
    """Without a restart."""
    prometheus = people.issue(Role.OBSERVER, "prometheus")
    async with secured(people) as server:
        before, _ = await asyncio.to_thread(scrape, server, people, prometheus)
        people.authority.revoke("prometheus")
        after, page = await asyncio.to_thread(scrape, server, people, prometheus)
    assert (before, after) == (200, 403)
    assert b"process_" not in page


@pytest.mark.parametrize("change", ["another authority", "revoked"])
async def test_an_open_connection_is_looked_at_when_it_asks(people: People, change: str) -> None:
    """Not only at its handshake; and it has one request: nobody goes on by an old connection."""
    prometheus = people.issue(Role.OBSERVER, "prometheus")
    async with secured(people) as server:
        client = await asyncio.to_thread(connected, server, people, prometheus)
        if change == "revoked":
            people.authority.revoke("prometheus")
        else:
            other = people.folder.parent / "other"
            Authority.create(other).close()
            (other / CA).rename(people.folder / CA)
        status, page = await asyncio.to_thread(answer_of, client)
    assert status == 403
    assert b"process_" not in page


def connected(
    server: MetricsServer, people: People, bundle: Bundle | None
) -> http.client.HTTPSConnection:
    """Shake hands, and ask for nothing yet."""
    context = ssl.create_default_context(cafile=str(people.folder / CA))
    if bundle is not None:
        file = people.folder / "client.pem"
        file.write_text(bundle.spell())
        context.load_cert_chain(file)
    port = int(server.address.rpartition(":")[2])
    client = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    client.connect()
    return client


def answer_of(client: http.client.HTTPSConnection) -> tuple[int, bytes]:
    """Ask for the page; return status and content."""
    try:
        client.request("GET", "/metrics")
        answer = client.getresponse()
        assert answer.headers["Connection"] == "close"
        return answer.status, answer.read()
    finally:
        client.close()


async def test_half_open_handshakes_have_their_time_and_lock_nobody_out(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count as connections from the start."""
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 1.0)
    async with secured(people) as server, AsyncExitStack() as held:
        address = server.address.replace(ANYWHERE, "127.0.0.1")
        for _ in range(2 * CONNECTIONS_MAX):
            held.enter_context(connect(address)).sendall(b"\x16\x03\x01")

        def is_let_in() -> bool:
            """Scrape; a handshake on a loaded host may take too long as well."""
            try:
                return scrape(server, people, people.bundles[Role.OBSERVER])[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        await asyncio.to_thread(eventually, is_let_in)
        await asyncio.to_thread(eventually, lambda: ended(server) >= 2 * CONNECTIONS_MAX)


def ended(server: MetricsServer) -> float:
    """Return how many connections ended early."""
    metrics = {metric.name: metric for metric in server.metrics()}
    return sum(one.value for one in metrics["virtmesh_metrics_connections_cut_off"].samples)


async def test_without_a_security_folder_nobody_else_reaches_it() -> None:
    """A page for other hosts needs certificates, or the word that anyone may read it."""
    with pytest.raises(Unprotected, match="virtmesh certs init"):
        MetricsServer(OUTSIDE, page_of_nothing)
    async with serving(tuple, OUTSIDE, locks=Locks(insecure=True)) as server:
        (warning,) = server.warnings
        page = await asyncio.to_thread(exchange, server.address.replace(ANYWHERE, "127.0.0.1"))
    assert "open to anyone" in warning
    assert page.startswith(b"HTTP/1.1 200 ")


async def test_a_new_certificate_is_taken_without_a_restart(people: People) -> None:
    """And the old one serves until then."""
    async with secured(people) as server:
        first = await asyncio.to_thread(serial, server)
        Authority.ensure(people.folder, ["other.example"]).close()
        second = await asyncio.to_thread(serial, server)
    assert first != second


def serial(server: MetricsServer) -> str:
    """Return the certificate that the server shows."""
    return ssl.get_server_certificate(("127.0.0.1", int(server.address.rpartition(":")[2])))
