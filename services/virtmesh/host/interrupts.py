"""InterruptService: the interrupt line of a device as a stream (virtmesh.interrupt.v1).

Native threads raise interrupts. While there are watchers, each change of the line (an interrupt, a
cause that was added or cleared, a fall) makes `wake_fd` readable, and the event loop wakes every
watcher. A watcher is registered before it reads its first snapshot, so no change is missed in
between. A change during a write wakes the watcher again.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from virtmesh.attach.eventfd import drain
from virtmesh_common.api.interrupt.v1 import interrupt_pb2 as pb
from virtmesh_common.api.interrupt.v1 import interrupt_pb2_grpc
from virtmesh_common.errors import ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc.aio

    from virtmesh.mmio.device import Device


class InterruptPlane(interrupt_pb2_grpc.InterruptServiceServicer):
    """InterruptService of one device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._watchers: set[asyncio.Event] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(device.interrupt.wake_fd, self._wake)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._loop.remove_reader(self._device.interrupt.wake_fd)
        for watcher in self._watchers:
            watcher.set()

    async def Watch(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Send a snapshot, then a response after each change; one may stand for several."""
        with self._watching() as news:
            sent: tuple[int, int] | None = None
            while not self._closed:
                news.clear()
                response = self._snapshot()
                shown = (response.sequence, response.interrupt_status)
                if shown != sent:
                    sent = shown
                    await context.write(response)
                else:
                    await news.wait()
        raise ShuttingDown("the device service is stopping")

    @contextmanager
    def _watching(self) -> Iterator[asyncio.Event]:
        """Register a watcher while the body runs. Yields the event that wakes it."""
        news = asyncio.Event()
        self._watchers.add(news)
        self._device.interrupt.observed = True
        try:
            yield news
        finally:
            self._watchers.remove(news)
            self._device.interrupt.observed = bool(self._watchers)

    def _snapshot(self) -> pb.WatchResponse:
        """Read the state of the line: the sequence first, so that the rest is at least as new."""
        interrupt = self._device.interrupt
        sequence = interrupt.sequence
        status = interrupt.status
        return pb.WatchResponse(
            sequence=sequence,
            asserted=bool(status),
            interrupt_status=status,
            device_status=self._device.state.device_status,
        )

    def _wake(self) -> None:
        """Wake all watchers."""
        drain(self._device.interrupt.wake_fd)
        for watcher in self._watchers:
            watcher.set()
