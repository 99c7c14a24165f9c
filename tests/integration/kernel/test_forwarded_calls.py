"""Calls of one client that a kernel passes to a device leave room for those of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.world import World, device_address, failure_of, serving
from virtmesh.host.host import Addresses, Host
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.kinds import find_kind
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import DEVICE_KEY, open_channel
from virtmesh_common.errors import LimitReached
from virtmesh_common.evdev import code_of
from virtmesh_common.limits import DEFAULTS, Limits
from virtmesh_common.request_id import REQUEST_ID_KEY
from virtmesh_common.sent_status import keep_sent_status

PLENTY_S = 30.0
"""Longer than any call here takes that is not kept waiting."""
FEW_CALLS = Limits(calls_per_connection=4, forwarded_streams_per_client=8)
ONE_STREAM = Limits(streams_per_client=1)
KEY, KEY_A = code_of("KEY_A")
PRESSES = [pb.Event(type=KEY, code=KEY_A, value=1)] * 512


@asynccontextmanager
async def keyboard(folder: Path, *, kernel: Limits, device: Limits) -> AsyncIterator[World]:
    """Serve a kernel and its keyboard, each with limits of its own."""
    async with serving(folder, {"keyboard": "input"}, limits=kernel) as world:
        model = InputModel("keyboard", InputOptions("keyboard"), load("keyboard"))
        addresses = Addresses(
            [device_address(folder, "keyboard")], folder / "handover", limits=device
        )
        host = Host(VirtioMmio(model), addresses, find_kind("input"))
        await host.start()
        try:
            await world.ready("keyboard")
            yield world
        finally:
            await host.stop()


def of(name: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a client's calls to the keyboard; without a name it sends none."""
    return ((DEVICE_KEY, "keyboard"), *([(REQUEST_ID_KEY, name)] if name else []))


class Watchers:
    """Opens streams that stay idle, a few on each connection to the kernel."""

    def __init__(self, world: World, name: str, connections: AsyncExitStack) -> None:
        self._address = f"unix:{world.folder}/kernel.sock"
        self._name = name
        self._connections = connections

    async def open(self, count: int) -> list[Any]:
        """Open streams; they may not have reached the device yet."""
        opened: list[Any] = []
        for _ in range(0, count, 2):
            channel = await self._connections.enter_async_context(open_channel(self._address))
            keys: Any = InputServiceStub(channel)
            opened += (
                keys.WatchOutput(pb.WatchOutputRequest(), metadata=of(self._name)) for _ in range(2)
            )
        return opened[:count]


async def test_idle_streams_of_one_client_leave_the_device_to_others(tmp_path: Path) -> None:
    """Twice as many as the device takes on a connection; one more is refused, not kept waiting."""
    async with (
        keyboard(tmp_path, kernel=FEW_CALLS, device=FEW_CALLS) as world,
        AsyncExitStack() as connections,
    ):
        ada = Watchers(world, "ada", connections)
        idle = await ada.open(8)
        await asyncio.gather(*(one.initial_metadata() for one in idle[:4]))

        keys: Any = InputServiceStub(world.channel)
        await keys.GetInfo(pb.GetInfoRequest(), metadata=of("bob"), timeout=PLENTY_S)
        await keys.Type(pb.TypeRequest(text="a"), metadata=of("bob"), timeout=PLENTY_S)
        await asyncio.gather(*(one.initial_metadata() for one in idle))
        (more,) = await ada.open(1)
        (stream,) = await Watchers(world, "bob", connections).open(1)
        await stream.initial_metadata()
        refused = await failure_of(more.read())

        assert isinstance(refused, LimitReached)
        assert refused.metadata["limit"] == "forwarded-streams-per-client"


async def test_a_client_that_writes_learns_why_its_stream_is_refused(tmp_path: Path) -> None:
    """It is refused while the client writes to it."""
    async with keyboard(tmp_path, kernel=ONE_STREAM, device=DEFAULTS) as world:
        keys: Any = InputServiceStub(world.channel)
        first = keys.WatchOutput(pb.WatchOutputRequest(), metadata=of("ada"))
        await first.initial_metadata()
        second = keep_sent_status(keys.Inject(metadata=of("ada")))

        async def write() -> None:
            for sequence in range(1, 1 << 20):
                await second.write(pb.InjectRequest(sequence=sequence, events=PRESSES))

        writing = asyncio.create_task(write())
        refused = await failure_of(second.read())
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

        assert isinstance(refused, LimitReached)
        assert refused.metadata["limit"] == "streams-per-client"


async def test_a_client_without_a_name_takes_nothing_from_the_kernel(tmp_path: Path) -> None:
    """The kernel's own calls have none either: it has its stream, though the client has as many."""
    async with (
        keyboard(tmp_path, kernel=DEFAULTS, device=ONE_STREAM) as world,
        open_channel(device_address(tmp_path, "keyboard")) as direct,
    ):
        forwarded: Any = InputServiceStub(world.channel)
        idle = forwarded.WatchOutput(pb.WatchOutputRequest(), metadata=of(""))
        await idle.initial_metadata()

        own: Any = InputServiceStub(direct)
        stream = own.WatchOutput(pb.WatchOutputRequest())
        await stream.initial_metadata()
        await own.GetInfo(pb.GetInfoRequest())
        assert not stream.done()


async def test_a_client_with_all_its_streams_still_has_its_calls(tmp_path: Path) -> None:
    """A call with one answer is no stream, though the kernel passes both on in the same way."""
    async with keyboard(tmp_path, kernel=ONE_STREAM, device=DEFAULTS) as world:
        keys: Any = InputServiceStub(world.channel)
        stream = keys.WatchOutput(pb.WatchOutputRequest(), metadata=of("ada"))
        await stream.initial_metadata()

        await keys.GetInfo(pb.GetInfoRequest(), metadata=of("ada"), timeout=PLENTY_S)
        await keys.Type(pb.TypeRequest(text="a"), metadata=of("ada"), timeout=PLENTY_S)
        second = keys.WatchOutput(pb.WatchOutputRequest(), metadata=of("ada"))
        refused = await failure_of(second.read())

        assert not stream.done()
        assert isinstance(refused, LimitReached)
        assert refused.metadata["limit"] == "streams-per-client"
