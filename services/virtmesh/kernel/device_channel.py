"""The gateway's channel to one device service, and what it knows of that service."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import grpc

from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.channel import open_channel

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
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.grpc = open_channel(endpoint)
        self._services: Sequence[str] = ()
        self._learning = asyncio.Lock()

    def check_connection(self) -> None:
        """Forget the services if the channel is not connected. Call it before each call."""
        if self.grpc.get_state() is not grpc.ChannelConnectivity.READY:
            self._services = ()

    async def find_service(self, name: str) -> bool:
        """Say whether the device offers a service. Errors: AioRpcError.

        What was learned is taken for a yes. For a no the device is asked again: it may have started
        again in this moment.
        """
        if name in self._services:
            return True
        async with self._learning:
            if name not in self._services:
                about = await DeviceServiceStub(self.grpc).Describe(
                    device_pb2.DescribeRequest(), timeout=DESCRIBE_TIMEOUT_S
                )
                self._services = tuple(islice(about.services, SERVICES_MAX))
        return name in self._services

    @property
    def services(self) -> Sequence[str]:
        """The services that the device offers, as far as they are known."""
        return self._services

    async def close(self) -> None:
        """Close the channel."""
        await self.grpc.close()
