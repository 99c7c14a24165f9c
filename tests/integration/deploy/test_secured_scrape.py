"""A real Prometheus scrapes a page behind TLS, with one file of `virtmesh certs issue`."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support import prometheus
from tests.support.cli import eventually
from tests.support.prometheus import ScrapeJob
from tests.support.scrapers import serving
from tests.support.secured import People
from virtmesh.rpc.locks import Locks
from virtmesh_common.security.roles import Role

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="needs Debian's package prometheus"
    ),
]
UP = 'up{job="kernel"}'


async def test_prometheus_scrapes_with_its_certificate_until_it_is_revoked(tmp_path: Path) -> None:
    """Without a restart of anything; one without a certificate gets nothing."""
    people = People(tmp_path)
    bundle = tmp_path / "prometheus.pem"
    bundle.write_text(people.issue(Role.OBSERVER, "prometheus").spell())
    locks = Locks(people.folder)

    def scrape(address: str) -> None:
        jobs = [
            ScrapeJob("kernel", [address], {}, honor_labels=True, bundle=bundle),
            ScrapeJob("plain", [address], {}),
        ]
        with prometheus.running(jobs, []) as real:
            eventually(lambda: real.query(UP) == [1])
            assert real.query('process_open_fds{job="kernel"}')[0] > 0
            eventually(lambda: real.query('up{job="plain"}') == [0])
            people.authority.revoke("prometheus")
            eventually(lambda: real.query(UP) == [0])

    async with serving(tuple, "0.0.0.0:0", locks=locks) as server:
        port = server.address.rpartition(":")[2]
        await asyncio.to_thread(scrape, f"127.0.0.1:{port}")
