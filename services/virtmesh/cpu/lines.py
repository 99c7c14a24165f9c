"""The interrupt lines of all devices, as their services tell them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc.aio

from virtmesh_common.api.cpu.v1 import cpu_pb2 as pb
from virtmesh_common.api.interrupt.v1 import interrupt_pb2
from virtmesh_common.api.interrupt.v1.interrupt_pb2_grpc import InterruptServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from virtmesh.kernel.tree import DeviceNode

PAUSE_S = 0.5
"""Pause before a device that did not answer is asked again."""
FIRST_S = 1.0
"""How long the first response waits for devices that do not answer."""


class LineWatch:
    """Watches the lines of devices. `changes` may be called once; then `close`."""

    def __init__(self, nodes: Sequence[DeviceNode]) -> None:
        self._nodes = sorted(nodes, key=lambda node: node.irq)
        self._asserted = dict.fromkeys((node.name for node in nodes), False)
        self._heard: set[str] = set()
        self._changed = asyncio.Event()
        self._ended = False
        self._tasks = [asyncio.create_task(self._follow(node)) for node in self._nodes]

    async def changes(self) -> AsyncIterator[list[pb.Line]]:
        """Yield the lines, ascending by source, and again when one has changed.

        Errors: ShuttingDown, after `end`.
        """
        await self._hear_all()
        while not self._ended:
            self._changed.clear()
            yield [
                pb.Line(device=node.name, source=node.irq, asserted=self._asserted[node.name])
                for node in self._nodes
            ]
            await self._changed.wait()
        raise ShuttingDown("the CPU service is stopping")

    def end(self) -> None:
        """End `changes`: the service stops."""
        self._ended = True
        self._changed.set()

    async def close(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hear_all(self) -> None:
        """Wait until every device has told its line, but not longer than FIRST_S."""
        loop = asyncio.get_running_loop()
        give_up = loop.call_later(FIRST_S, self._changed.set)
        try:
            while len(self._heard) < len(self._nodes) and not self._ended:
                self._changed.clear()
                await self._changed.wait()
                if loop.time() >= give_up.when():
                    return
        finally:
            give_up.cancel()

    async def _follow(self, node: DeviceNode) -> None:
        """Keep the line of one device up to date."""
        while True:
            async with open_channel(node.endpoint) as channel:
                stream = InterruptServiceStub(channel).Watch(interrupt_pb2.WatchRequest())
                try:
                    async for response in stream:
                        self._set(node.name, asserted=response.asserted)
                except grpc.aio.AioRpcError:
                    self._set(node.name, asserted=False)
            await asyncio.sleep(PAUSE_S)

    def _set(self, name: str, *, asserted: bool) -> None:
        """Take note of a line."""
        if self._asserted[name] != asserted or name not in self._heard:
            self._asserted[name] = asserted
            self._heard.add(name)
            self._changed.set()
