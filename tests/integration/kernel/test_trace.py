"""Both flight recorders of a disk, read at the kernel's one address: the dialogue of a machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.support.world import World, serving
from virtmesh_common.api.trace.v1 import trace_pb2 as pb
from virtmesh_common.api.trace.v1.trace_pb2_grpc import TraceServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import DeviceNotFound, ShuttingDown, from_rpc_error

SIZE = 1 << 20
VDA = ((DEVICE_KEY, "vda"),)


@dataclass(frozen=True)
class Step:
    """An event, with the side that recorded it."""

    time_ns: int
    side: str
    kind: str
    queue: int
    token: int
    value: int
    extra: int


def traces(world: World) -> Any:
    """Return a stub of TraceService."""
    return TraceServiceStub(world.channel)


def watch(world: World, side: str, *, past: bool = False) -> Any:
    """Watch one side of the disk."""
    request = pb.WatchRequest(device="vda", from_sequence=0 if past else None)
    return traces(world).Watch(request, metadata=VDA if side == "DEVICE" else None)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel; its disk is not there yet."""
    async with serving(tmp_path, {"vda": "blk"}, metrics=None) as world:
        yield world


def steps_of(page: pb.Page, side: str) -> list[Step]:
    """Return the events of a page."""
    names = [pb.EventKind.Name(kind).removeprefix("EVENT_KIND_") for kind in page.kinds]
    columns = (page.queues, page.tokens, page.values, page.extras)
    return [
        Step(time, side, name, *numbers)
        for time, name, *numbers in zip(page.times_ns, names, *columns, strict=True)
    ]


async def steps_until(stream: Any, side: str, *kinds: str) -> list[Step]:
    """Read the pages of a stream until there was an event of each of the kinds."""
    steps: list[Step] = []
    while not set(kinds) <= {step.kind for step in steps}:
        steps += steps_of((await stream.read()).page, side)
    return steps


async def test_one_block_write_is_seen_from_both_sides(world: World) -> None:
    """By time, every step is where it belongs, from the driver's ring to the disk and back."""
    async with world.serve_disk():
        await world.ready("vda")
        driver, device = watch(world, "DRIVER"), watch(world, "DEVICE")
        for stream in (driver, device):
            await stream.read()
        await world.write(0, [b"x" * 4096])
        steps = await steps_until(driver, "DRIVER", "POP_USED")
        steps += await steps_until(device, "DEVICE", "INTERRUPT", "NOTIFY")
    steps.sort(key=lambda step: step.time_ns)
    order = [(step.side, step.kind) for step in steps]
    # The device rarely is awake still: then it takes the chain before it looks at its eventfd.
    rung = order.index(("DEVICE", "NOTIFY"))
    assert order.index(("DRIVER", "NOTIFY")) < rung
    order.pop(rung)
    assert order == [
        ("DRIVER", "ADD"),
        ("DRIVER", "NOTIFY"),
        ("DEVICE", "POP"),
        ("DEVICE", "REQUEST_START"),
        ("DEVICE", "REQUEST_END"),
        ("DEVICE", "PUSH"),
        ("DEVICE", "INTERRUPT"),
        ("DRIVER", "IRQ"),
        ("DRIVER", "POP_USED"),
    ]
    by_kind = {step.kind: step for step in steps}
    chain = ["ADD", "POP", "REQUEST_START", "REQUEST_END", "PUSH", "POP_USED"]
    assert len({(by_kind[kind].queue, by_kind[kind].token) for kind in chain}) == 1
    assert by_kind["ADD"].extra == by_kind["POP"].extra == 16 + 4096 + 1
    assert (by_kind["REQUEST_START"].value, by_kind["REQUEST_START"].extra) == (0, 4096)
    assert by_kind["PUSH"].value == by_kind["POP_USED"].value == 1


async def test_sources_of_both_sides_can_be_merged(world: World) -> None:
    """They say the same of the device, have one clock, and differ in their side and run."""
    async with world.serve_disk():
        await world.ready("vda")
        sources = [
            (await traces(world).Read(pb.ReadRequest(device="vda"), metadata=metadata)).source
            for metadata in (None, VDA)
        ]
    driver, device = sources
    assert (driver.side, device.side) == (pb.SIDE_DRIVER, pb.SIDE_DEVICE)
    assert driver.run_id != device.run_id
    for field in ("device", "kind", "compatible", "virtio_device_id", "boot_id"):
        assert getattr(driver, field) == getattr(device, field) != ""


async def test_the_driver_s_side_outlives_the_device(world: World) -> None:
    """It says when the device was attached, why it was lost, and that it came back."""
    async with world.serve_disk():
        await world.ready("vda")
    async with world.serve_disk():
        await world.ready("vda")
        stream = watch(world, "DRIVER", past=True)
        await stream.read()
        kinds: list[str] = []
        texts: list[str] = []
        while kinds.count("ATTACH") < 2:
            page = (await stream.read()).page
            kinds += [step.kind for step in steps_of(page, "DRIVER")]
            texts += [note.text for note in page.notes]
    life = [kind for kind in kinds if kind in {"ATTACH", "FAULT", "DETACH"}]
    assert life == ["ATTACH", "FAULT", "DETACH", "ATTACH"]
    name, fault, why, again = texts
    assert name == again == "test virtmesh-kernel"
    assert fault == why
    assert "vda is lost" in why


async def test_a_device_that_is_not_there_yet_has_a_driver_s_side(world: World) -> None:
    """It is empty, and says what the device tree knows."""
    response = await traces(world).Read(pb.ReadRequest(device="vda"))
    assert response.position == pb.Position(capacity=65536)
    assert (response.source.kind, response.source.compatible) == ("", "virtio,mmio")


@pytest.mark.parametrize("device", ["", "vdz"])
async def test_a_device_that_does_not_exist_is_not_found(world: World, device: str) -> None:
    """A kernel has many devices: one must be named."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await traces(world).Read(pb.ReadRequest(device=device))
    assert isinstance(from_rpc_error(caught.value), DeviceNotFound)


async def test_watchers_end_when_the_kernel_stops(world: World) -> None:
    """They are told that it is stopping."""
    stream = watch(world, "DRIVER")
    await stream.read()
    await world.server.stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert isinstance(from_rpc_error(caught.value), ShuttingDown)
