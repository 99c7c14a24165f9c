"""Serves /metrics to Prometheus: counters are read when somebody asks, never counted twice.

A thread serves the page, so a slow scraper delays nothing else. Values are collected on the event
loop, so collectors read the state of the service without locks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from virtmesh.telemetry.pages import pages
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

COLLECT_TIMEOUT_SECONDS = 5.0


class LoopCollector(Collector):
    """Collects on the event loop. `labels` are added to every sample, such as {"device": "vda"}."""

    def __init__(
        self,
        collect: Callable[[], Iterable[Metric]],
        *,
        labels: Mapping[str, str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._collect = collect
        self._labels = dict(labels)
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        """Return the metrics. Runs on a thread of the page. Errors: TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
        return future.result(COLLECT_TIMEOUT_SECONDS)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry must not collect when this collector is registered."""
        return ()

    async def _gather(self) -> list[Metric]:
        """Collect, and add the labels."""
        metrics = list(self._collect())
        for metric in metrics:
            metric.samples = [
                sample._replace(labels=self._labels | sample.labels) for sample in metric.samples
            ]
        return metrics


class MetricsServer:
    """The /metrics page of one service."""

    def __init__(
        self,
        address: str,
        collect: Callable[[], Iterable[Metric]],
        *,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Serve at HOST:PORT; port 0 means any. Needs a running event loop.

        Errors: ValueError for an invalid address; AddressTaken if it can't be listened at.
        """
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{address!r} is not an address for metrics: write HOST:PORT")
        registry = CollectorRegistry()
        registry.register(
            LoopCollector(collect, labels=labels or {}, loop=asyncio.get_running_loop())
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        try:
            self._server, self._thread = start_http_server(
                int(port), addr=host.strip("[]"), registry=registry
            )
            self._server.set_app(pages(make_wsgi_app(registry)))
        except OSError as error:
            raise AddressTaken(
                f"{address}: can't serve metrics there: {error.strerror}: choose another address"
            ) from error
        self.address = f"{host}:{self._server.server_port}"
        """Where the page is, as HOST:PORT."""

    def close(self) -> None:
        """Stop serving. Waits for a page that is being served: do not call it on the event loop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
