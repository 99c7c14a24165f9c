"""What a service measures, read on its event loop and spelled on a thread of its own.

The event loop only collects: it reads counters. A page of thousands of lines is made elsewhere.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from virtmesh.scraping.answer import encode_answer
from virtmesh.scraping.families import Family, make_page, spell_families
from virtmesh.scraping.sparing import Sparing
from virtmesh.telemetry.definitions import counter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from prometheus_client import Metric

    from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb

Result = TypeVar("Result")

PAGES = counter(
    "virtmesh_pages",
    "Pages of metrics made; asked more often than about once a second, a service gives out one"
    " several times.",
    "pages",
)


class Others(Protocol):
    """Other services, whose metrics belong on the page."""

    async def gather(self, run: Run) -> Sequence[Family]:
        """Return their families, in a time that is limited.

        `run` runs what takes time, on a thread.
        """

    def metrics(self) -> Iterable[Metric]:
        """Return what there is to say of the gathering itself: which of them did not answer."""


class Run(Protocol):
    """Runs a function on the thread that spells."""

    def __call__(self, work: Callable[[], Result]) -> Awaitable[Result]:
        """Return what the function returns. Errors: those of it."""


class Measured:
    """What one service measures, and what others do for which it speaks.

    Every series gets `labels`. Use it on the event loop on which `collect` may run.
    """

    def __init__(
        self,
        collect: Callable[[], Iterable[Metric]],
        labels: Mapping[str, str],
        others: Others | None = None,
    ) -> None:
        self._collect = collect
        self._labels = dict(labels)
        self._others = others
        registry = CollectorRegistry()
        self._of_process = (
            ProcessCollector(registry=registry),
            PlatformCollector(registry=registry),
        )
        self._thread = ThreadPoolExecutor(1, "metrics")
        self.answer = Sparing(self._make_answer)
        """MetricsService.Collect: what the service measures itself."""
        self.page = Sparing(self._make_page)
        """The page."""

    def close(self) -> None:
        """Give the thread back. Who waits for a page gets an error."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _make_answer(self) -> pb.CollectResponse:
        """Return the own metrics for whoever gathers, who adds whose they are."""
        metrics = list(self._collect())
        return await self._run(lambda: encode_answer(self._spell(metrics, {})))

    async def _make_page(self) -> bytes:
        """Return the page."""
        others: Sequence[Family] = ()
        metrics: list[Metric] = []
        if self._others:
            others = await self._others.gather(self._run)
            metrics += self._others.metrics()
        metrics += self._collect()
        metrics.append(PAGES.one(self.page.made))
        return await self._run(lambda: make_page([*self._spell(metrics, self._labels), *others]))

    def _spell(self, metrics: Iterable[Metric], labels: Mapping[str, str]) -> list[Family]:
        """Spell metrics, and those of the process. Runs on the thread."""
        process = [metric for one in self._of_process for metric in one.collect()]
        return spell_families([*metrics, *process], labels)

    def _run(self, work: Callable[[], Result]) -> Awaitable[Result]:
        """Run a function on the thread."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)
