"""An input device service in this process, and a driver that takes events when it is asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.input_poster import Event, EventPoster
from virtmesh.input.kind import KIND
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.testing.scripted_driver import ScriptedDriver, signalled
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.evdev import code_of
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.contract.conftest import Served

    Serve = Callable[..., AbstractAsyncContextManager[Served]]

PLAIN = int(Feature.VIRTIO_F_VERSION_1)
LED, CAPS = code_of("LED_CAPSL")
REL, REL_X = code_of("REL_X")
SYN: Event = (0, 0, 0)


@dataclass
class Desk:
    """An input device service in this process, and the model it serves."""

    served: Served
    model: InputModel

    @property
    def inputs(self) -> Any:
        """A stub of InputService."""
        return InputServiceStub(self.served.channel)

    @asynccontextmanager
    async def driven(self, features: int = PLAIN, size: int = 64) -> AsyncIterator[Driver]:
        """Attach a driver that has posted a buffer for each entry of its event queue."""
        async with self.served.attached() as script:
            await script.reset()
            await script.negotiate(features)
            for index in (EVENTQ, STATUSQ):
                await script.set_up_queue(index, size)
            address = script.ram.pages.allocate(size * EVENT.size)
            poster = EventPoster(script.queues[EVENTQ], script.ram.guest_memory, address, size)
            poster.post()
            await script.go()
            yield Driver(script, poster)


@dataclass
class Driver:
    """A driver that takes events when it is asked for them."""

    script: ScriptedDriver
    poster: EventPoster

    async def take(self, count: int) -> list[Event]:
        """Wait for so many events; post their buffers again, one ring for each look."""
        got: list[Event] = []
        while len(got) < count:
            while not self.poster.queue.enable_interrupts():
                await signalled(self.script.doorbells.queues[EVENTQ].call)
            got += self.poster.take()
            await self.post()
        return got

    async def post(self) -> None:
        """Post every idle buffer, and ring if the device wants that."""
        self.poster.post()
        if self.poster.queue.should_notify():
            await self.script.ring(EVENTQ, by="eventfd")

    async def light(self, led: int, value: int) -> None:
        """Turn a light on or off."""
        ram, queue = self.script.ram, self.script.queues[STATUSQ]
        address = ram.pages.allocate(EVENT.size)
        ram.guest_memory.write(address, EVENT.pack(LED, led, value))
        queue.add([(address, EVENT.size)], [])
        await self.script.ring(STATUSQ, by="eventfd")


@asynccontextmanager
async def opened(serve: Serve, kind: str, **options: Any) -> AsyncIterator[Desk]:
    """Serve an input device for a while."""
    model = InputModel("dev", InputOptions(kind, **options), load(kind))
    async with serve(VirtioMmio(model), KIND) as served:
        yield Desk(served, model)


def request(sequence: int, *events: Event, **fields: Any) -> pb.InjectRequest:
    """Make a packet."""
    return pb.InjectRequest(
        sequence=sequence,
        events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in events],
        **fields,
    )
