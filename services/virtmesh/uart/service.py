"""UartService: the far end of a serial line, for people and scripts (virtmesh.uart.v1)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from virtmesh.uart.line import messages
from virtmesh.uart.line.stream import OpenStream
from virtmesh.uart.port import LINE_LIMIT
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1 import uart_pb2_grpc
from virtmesh_common.errors import ShuttingDown, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from virtmesh.uart.counters import UartCounters
    from virtmesh.uart.line.far_end import FarEnd

SERVICE = "virtmesh.uart.v1.UartService"


class SerialDevice(Protocol):
    """The device, as the service of its far end sees it."""

    @property
    def name(self) -> str:
        """Name on the machine."""

    @property
    def far_end(self) -> FarEnd:
        """The far end of its line."""

    @property
    def paced(self) -> bool:
        """True when the baud rate paces the line."""

    @property
    def attached(self) -> bool:
        """True while a driver is attached."""

    @property
    def uart_counters(self) -> UartCounters:
        """The counters of chip and line now."""


class UartService(uart_pb2_grpc.UartServiceServicer):
    """The service of one device."""

    name = SERVICE

    def __init__(self, device: SerialDevice) -> None:
        self._device = device
        self._far_end = device.far_end
        self._line = device.far_end.line
        self._closing: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        uart_pb2_grpc.add_UartServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """End every stream: the device service is stopping."""
        if not self._closing.done():
            self._closing.set_result(ShuttingDown("the device service is stopping"))

    async def GetInfo(
        self, request: pb.GetInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetInfoResponse:
        """Say how the port is set and how its lines stand."""
        device, line, kept = self._device, self._line, self._far_end.scrollback
        return pb.GetInfoResponse(
            name=device.name,
            format=messages.spell_format(line.format),
            port_lines=messages.spell_port_lines(line.port_lines),
            lines=messages.spell_lines(line.lines),
            paced=device.paced,
            epoch=self._far_end.epoch,
            scrollback_offset=kept.first,
            output_offset=kept.end,
            scrollback_bytes=kept.size,
            waiting_bytes=line.waiting,
            waiting_bytes_max=LINE_LIMIT,
            watchers=self._far_end.watchers,
            attached=device.attached,
        )

    async def Open(  # type: ignore[override]  # the stubs know generators only
        self,
        request_iterator: AsyncIterator[pb.OpenRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Plug a terminal in."""
        await OpenStream(self._far_end, context).run(self._closing)

    async def Write(
        self, request: pb.WriteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.WriteResponse:
        """Put input on the line at once, or refuse all of it."""
        sending = messages.parse_input(request.input)
        self._line.send_now(sending.data, error=sending.error, flow=sending.flow)
        return pb.WriteResponse(waiting_bytes=self._line.waiting)

    async def SetLines(
        self, request: pb.SetLinesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SetLinesResponse:
        """Set modem lines."""
        self._line.set_lines(messages.change_lines(self._line.lines, request.lines))
        return pb.SetLinesResponse(lines=messages.spell_lines(self._line.lines))

    async def GetStats(
        self, request: pb.GetStatsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatsResponse:
        """Return the counters."""
        return pb.GetStatsResponse(
            **asdict(self._device.uart_counters),
            waiting_bytes=self._line.waiting,
            watchers_cut=self._far_end.watchers_cut,
        )
