"""The gateway's channels to one device service, and what it knows of that service."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import grpc

from virtmesh.kernel.lanes import Lanes
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.limits import DEFAULTS, Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIBE_TIMEOUT_S = 10.0
"""Longest wait for an answer to Describe."""
SERVICES_MAX = 64
"""Most services of one device that are kept."""


class DeviceChannel:
    """A channel, and the services that the device offers: they never change while it runs.

    They are learned once per connection. A device that starts again has closed the connection, so
    that a channel that is not connected knows nothing.

    Calls of clients go by `calls` and `streams`, which have connections of their own.
    """

    def __init__(self, endpoint: str, limits: Limits = DEFAULTS) -> None:
        self.endpoint = endpoint
        self.grpc = open_channel(endpoint)
        """For calls of this process alone."""
        self.calls = Lanes(endpoint, "forwarded-calls", limits)
        """For calls with one request and one answer."""
        self.streams = Lanes(endpoint, "forwarded-streams", limits)
        self._services: Sequence[str] = ()
        self._learning: asyncio.Task[None] | None = None
        """The Describe under way, or the last one."""

    def check_connection(self) -> None:
        """Forget the services if the channel is not connected. Call it before each call."""
        if self.grpc.get_state() is not grpc.ChannelConnectivity.READY:
            self._services = ()

    async def find_service(self, name: str) -> bool:
        """Say whether the device offers a service. Errors: AioRpcError.

        What was learned is taken for a yes. For a no the device is asked again: it may have started
        again in this moment. Who asks while a Describe is under way waits for that one, and gets
        its answer or its error: at a device that does not answer, nobody waits for the others.
        """
        if name in self._services:
            return True
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())
            # Those who wait may all have given up by the time it fails.
            self._learning.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Of those who wait, one may be cancelled: the Describe goes on for the others.
        await asyncio.shield(self._learning)
        return name in self._services

    async def _learn(self) -> None:
        """Ask the device for its services. Errors: AioRpcError."""
        about = await DeviceServiceStub(self.grpc).Describe(
            device_pb2.DescribeRequest(), timeout=DESCRIBE_TIMEOUT_S
        )
        self._services = tuple(islice(about.services, SERVICES_MAX))

    @property
    def services(self) -> Sequence[str]:
        """The services that the device offers, as far as they are known."""
        return self._services

    async def close(self) -> None:
        """Close the channels. Who waits for the device's services is cancelled."""
        if self._learning is not None:
            self._learning.cancel()
        await self.calls.close()
        await self.streams.close()
        await self.grpc.close()
