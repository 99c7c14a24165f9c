"""MetricsService: what a service measures, for those who gather and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.rpc.budgets import account
from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb
from virtmesh_common.api.metrics.v1 import metrics_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from virtmesh.scraping.page import Measured

SERVICE = pb.DESCRIPTOR.services_by_name["MetricsService"].full_name
PART_BYTES = 64 << 10
"""Size of a part of a page."""


class MetricsPlane(metrics_pb2_grpc.MetricsServiceServicer):
    """MetricsService of one service."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    async def Collect(
        self, request: pb.CollectRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CollectResponse:
        """Return what the service measures itself. Each answer is encoded anew: that is work."""
        await account().turn()
        return await self._measured.answer.get()

    async def GetPage(
        self, request: pb.GetPageRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.GetPageResponse]:
        """Return the page in parts."""
        page = await self._measured.page.get()
        mine = account()
        for begin in range(0, len(page), PART_BYTES):
            await mine.turn()
            yield pb.GetPageResponse(text=page[begin : begin + PART_BYTES])
