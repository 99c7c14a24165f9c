"""Streams of clients that outlive the process of their device: the kernel service has their state.

The gateway forwards the calls of clients to a device as they are, so they end with its process. A
relay takes the streams of one service of a kind itself, for devices that this kernel drives. It has
one stream of its own to each process of such a device, and knows from the driver what came through
when a process goes away. So what it tells a client is true for all lives of the device.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.message import DecodeError

from virtmesh_common.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from google.protobuf.message import Message

    from virtmesh.drivers.base import Driver
    from virtmesh.kinds.lasting import LastingDevice
    from virtmesh.kinds.service import DriverOfDevice

    Serve = Callable[["TypedContext"], Awaitable[None]]
    """Serves one call to its end. Errors: VirtmeshError."""
    Upstream = Callable[[str], grpc.aio.Channel]
    """Returns the channel to the process of a device."""


class TypedContext:
    """A call whose messages the gateway has as bytes. `request` is the class of its requests.

    `retry_for` is how long its client waits for a device that is away, in seconds.
    """

    def __init__(
        self, messages: AsyncIterator[bytes], context: Any, retry_for: float, request: type[Message]
    ) -> None:
        self.retry_for = retry_for
        self._messages = aiter(messages)
        self._context = context
        self._request = request

    async def read(self) -> Any:
        """Return the next request, or grpc.aio.EOF. Errors: BadRequest."""
        try:
            data = await anext(self._messages)
        except StopAsyncIteration:
            return grpc.aio.EOF
        try:
            return self._request.FromString(data)
        except DecodeError:
            raise BadRequest(f"this is no {self._request.DESCRIPTOR.name}") from None

    async def write(self, response: Message) -> None:
        """Send a response."""
        await self._context.write(response.SerializeToString())


class Relay(ABC):
    """Takes calls of one service, for the devices of one driver.

    `names` are those of the devices of the machine; `device` finds what follows their drivers.
    """

    methods: dict[str, type[Message]]
    """The full names of the methods that it takes, and their requests."""

    def __init__(
        self,
        names: Iterable[str],
        device: Callable[[str], DriverOfDevice],
        upstream: Upstream,
    ) -> None:
        self._names = names
        self._device = device
        self._upstream = upstream
        self._devices: dict[str, LastingDevice[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @abstractmethod
    def make(self, name: str, driver: Driver) -> LastingDevice[Any] | None:
        """Make a device of the relay; None if its driver is another one."""

    @abstractmethod
    def serve(self, device: Any, method: str) -> Serve | None:
        """Return what serves a call; None if that is to be forwarded."""

    def start(self) -> None:
        """Follow the drivers of the machine."""
        self._tasks = [
            asyncio.create_task(self._follow(name), name=f"{name} relay") for name in self._names
        ]

    def find(self, name: str, method: str) -> Serve | None:
        """Return what serves a call to a device; None if that is to be forwarded."""
        device = self._devices.get(name)
        return None if device is None else self.serve(device, method)

    def end_streams(self) -> None:
        """End the streams of clients: the kernel service stops."""
        for device in self._devices.values():
            device.stop()

    async def close(self) -> None:
        """End the streams to the devices."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in self._devices.values():
            await device.close()

    async def _follow(self, name: str) -> None:
        """Tell one device of the relay about each of its drivers."""
        last: Driver | None = None
        while True:
            last = await self._device(name).next_driver(last)
            device = self._devices.get(name) or self.make(name, last)
            if device is not None:
                self._devices[name] = device
                device.came(last)


RelayFactory = type[Relay]
