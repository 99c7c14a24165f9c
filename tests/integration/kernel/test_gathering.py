"""The page of a machine, with devices that are there, gone, stopped, broken or hostile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.metric_answers import HOSTILE, answer, family
from tests.support.world import World, device_address, failure_of, serving
from virtmesh.kernel import gathering
from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb
from virtmesh_common.api.metrics.v1.metrics_pb2_grpc import MetricsServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import BadRequest, NotOffered

UP = "virtmesh_machine_device_up"
FAILURES = "virtmesh_machine_gathering_failures_total"
KINDS = {"vda": "blk", "keyboard": "input"}
PATIENCE_SECONDS = 30.0
"""Time for a device to answer, on a loaded host too."""
PAGES_MAX = 25
"""Most pages that are made for 50 who ask at once: the burst, and one a second on a slow host."""

Answer = Callable[[], Awaitable[bytes]]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Serve a kernel of a disk and of a keyboard; neither is there yet."""
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", PATIENCE_SECONDS)
    async with serving(tmp_path, KINDS) as world:
        yield world


async def page_of(world: World, device: str = "") -> dict[tuple[str, ...], float]:
    """Return the page of the machine, or of a device: values by name and values of labels."""
    stub: Any = MetricsServiceStub(world.channel)
    metadata = ((DEVICE_KEY, device),) if device else ()
    parts = [one.text async for one in stub.GetPage(pb.GetPageRequest(), metadata=metadata)]
    return {
        (sample.name, *sample.labels.values()): sample.value
        for found in text_string_to_metric_families(b"".join(parts).decode())
        for sample in of(found)
    }


def of(metric: Metric) -> list[Any]:
    """Return the samples of a metric."""
    return list(metric.samples)


@asynccontextmanager
async def keyboard_that_says(world: World, say: Answer) -> AsyncIterator[None]:
    """Serve something at the keyboard's address that answers Collect, and nothing else."""

    async def collect(_request: bytes, _context: Any) -> bytes:
        return await say()

    server = grpc.aio.server()
    service, _, method = gathering.COLLECT.removeprefix("/").rpartition("/")
    handler: Any = grpc.unary_unary_rpc_method_handler(collect)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    server.add_insecure_port(device_address(world.folder, "keyboard"))
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def saying(said: bytes) -> Answer:
    """Return what always answers the same."""

    async def say() -> bytes:
        return said

    return say


async def test_one_page_has_the_kernel_and_its_devices(world: World) -> None:
    """A device's series have its name and that of the machine; who is not there is told."""
    async with world.serve_disk():
        await world.ready("vda")
        await world.read(0, 4096)
        page = await page_of(world)
    assert page["virtmesh_blk_requests_total", "vda", "test", "ok", "IN"] == 1
    assert page["virtmesh_attached", "vda", "test"] == 1
    assert page["process_start_time_seconds", "vda", "test"] > 0
    assert page["process_start_time_seconds", "test"] > 0
    assert page["virtmesh_kernel_requests_total", "vda", "test"] >= 1
    assert (page[UP, "vda", "test"], page[UP, "keyboard", "test"]) == (1, 0)
    assert page[FAILURES, "keyboard", "test", "error"] == 1


async def test_a_device_that_goes_is_not_shown_as_it_was(world: World) -> None:
    """Its series are gone with it, and come back with it."""
    async with world.serve_disk():
        await world.ready("vda")
        there = await page_of(world)
    gone = await page_of(world)
    async with world.serve_disk():
        await world.ready("vda")
        back = await page_of(world)
    key = "virtmesh_blk_capacity_bytes", "vda", "test"
    assert (key in there, key in gone, key in back) == (True, False, True)
    assert [one[UP, "vda", "test"] for one in (there, gone, back)] == [1, 0, 1]


async def test_each_device_has_a_page_of_its_own(world: World) -> None:
    """Through the kernel; Collect, which is for the kernel, is not forwarded."""
    async with world.serve_disk():
        await world.ready("vda")
        page = await page_of(world, "vda")
        collect: Any = MetricsServiceStub(world.channel).Collect
        refused = await failure_of(collect(pb.CollectRequest(), metadata=((DEVICE_KEY, "vda"),)))
    assert page["virtmesh_blk_capacity_bytes", "vda"] == 16 << 20
    assert not [key for key in page if key[0].startswith("virtmesh_kernel_")]
    assert isinstance(refused, BadRequest | NotOffered)


async def test_a_device_that_never_answers_is_left_out_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page comes without it, again and again; the others are on it, if they are in time."""
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", 0.3)
    pages: list[dict[tuple[str, ...], float]] = []

    async def never() -> bytes:
        await asyncio.Event().wait()
        return b""

    async with world.serve_disk(), keyboard_that_says(world, never):
        await world.ready("vda")
        while sum(one[UP, "vda", "test"] for one in pages) < 3:
            pages.append(await page_of(world))
    assert not any(one[UP, "keyboard", "test"] for one in pages)
    assert pages[-1][FAILURES, "keyboard", "test", "late"] >= 3


@pytest.mark.parametrize(
    "said",
    [*HOSTILE.values(), answer(family(meaning="x" * (8 << 20)))],
    ids=[*HOSTILE, "more than a channel takes"],
)
async def test_a_hostile_answer_changes_nothing_of_the_others(world: World, said: bytes) -> None:
    """Nothing of it is on the page but that it was not used."""
    async with world.serve_disk(), keyboard_that_says(world, saying(said)):
        await world.ready("vda")
        page = await page_of(world)
    others = {key for key in page if "keyboard" in key} - {
        key for key in page if key[0].startswith(("virtmesh_kernel_", "virtmesh_machine_"))
    }
    assert page[UP, "vda", "test"] == 1
    assert page[UP, "keyboard", "test"] == 0
    assert sum(page[FAILURES, "keyboard", "test", why] for why in ("error", "refused")) == 1
    assert others == set()


async def test_a_device_speaks_for_itself_alone(world: World) -> None:
    """A label "device" can't be given; what it says of a disk stands as its own."""
    said = answer(family("virtmesh_blk_capacity_bytes"))
    async with world.serve_disk(), keyboard_that_says(world, saying(said)):
        await world.ready("vda")
        page = await page_of(world)
    assert page["virtmesh_blk_capacity_bytes", "vda", "test"] == 16 << 20
    assert page["virtmesh_blk_capacity_bytes", "keyboard", "test"] == 1


async def test_many_pages_at_once_ask_a_device_once(world: World) -> None:
    """However many scrape, by HTTP or by the RPC."""
    asked = 0

    async def count() -> bytes:
        nonlocal asked
        asked += 1
        return answer(family())

    async with keyboard_that_says(world, count):
        pages = await asyncio.gather(*(page_of(world) for _ in range(50)))
    assert all(page["virtmesh_x", "keyboard", "test"] == 1 for page in pages)
    assert 1 <= asked <= PAGES_MAX
