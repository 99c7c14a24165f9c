"""DeviceService: what the device is, who drives it, what it has done (virtmesh.device.v1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.host.counters import HostCounters, session_of
from virtmesh.host.interface import figure_values, make_interface, offered_features
from virtmesh.host.report import Reported, make_report
from virtmesh_common import __version__
from virtmesh_common.api.device.v1 import device_pb2 as pb
from virtmesh_common.api.device.v1 import device_pb2_grpc
from virtmesh_common.errors import BadValue
from virtmesh_common.interface_message import encode_interface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import grpc.aio
    from prometheus_client import Metric

    from virtmesh.attach.sessions import Sessions
    from virtmesh.kinds.record import DeviceKind
    from virtmesh.mmio.device import Device, Execution

DRIVER_NAME_LIMIT = 128
"""Longest driver_name, in characters (device.proto)."""


class ControlPlane(device_pb2_grpc.DeviceServiceServicer):
    """DeviceService of one device. Describe tells clients the addresses and services."""

    def __init__(
        self,
        device: Device,
        sessions: Sessions,
        counters: HostCounters,
        kind: DeviceKind | None = None,
    ) -> None:
        self._device = device
        self._sessions = sessions
        self._counters = counters
        self._kind = kind
        self.collect: Callable[[], Iterable[Metric]] = tuple
        """Returns the metrics of the device, read now."""
        self.handover_socket: Path | None = None
        self.metrics_address = ""
        self.vhost_user_socket: Path | None = None
        self.services: Sequence[str] = ()
        """Full gRPC names of what the kind of the device offers to people."""

    async def Describe(
        self, request: pb.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DescribeResponse:
        """Say what the device is."""
        description = self._device.description
        return pb.DescribeResponse(
            name=description.name,
            kind=description.kind,
            compatible=description.compatible,
            virtio_device_id=description.virtio_device_id,
            mmio_size_bytes=description.mmio_size_bytes,
            queue_size_max=description.queue_size_max,
            handover_socket=str(self.handover_socket or ""),
            version=__version__,
            services=self.services,
            metrics_address=self.metrics_address,
            vhost_user_socket=str(self.vhost_user_socket or ""),
            properties=description.properties,
            features=offered_features(description.family, self._device.state.device_features),
            identity=description.identity,
            kept_state_bytes=description.kept_state_bytes,
        )

    async def DescribeInterface(
        self, request: pb.DescribeInterfaceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DescribeInterfaceResponse:
        """Say how to name and to show what the device does."""
        interface = make_interface(self._device.description, self._kind)
        return pb.DescribeInterfaceResponse(interface=encode_interface(interface))

    async def Attach(
        self, request: pb.AttachRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.AttachResponse:
        """Claim the device for one driver."""
        if not 1 <= len(request.driver_name) <= DRIVER_NAME_LIMIT:
            raise BadValue(f"driver_name must have 1 to {DRIVER_NAME_LIMIT} characters")
        session = await self._sessions.attach(
            request.driver_name, request.ticket, config_changed=request.config_changed
        )
        return pb.AttachResponse(session_id=session.id)

    async def Detach(
        self, request: pb.DetachRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DetachResponse:
        """Give the device back."""
        await self._sessions.detach(self._sessions.require(session_of(context)))
        return pb.DetachResponse()

    async def Reset(
        self, request: pb.ResetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ResetResponse:
        """Reset the device, and wait until it is done."""
        self._sessions.check(session_of(context))
        await self._sessions.reset()
        return pb.ResetResponse()

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatusResponse:
        """Say who drives the device and in which state it is."""
        state = self._device.state
        holder = self._sessions.holder
        return pb.GetStatusResponse(
            attached=holder is not None,
            driver_name=holder.driver_name if holder else "",
            device_status=state.device_status,
            device_status_names=state.device_status_names,
            driver_features=state.driver_features,
            device_features=state.device_features,
            fault=state.fault,
            executing=None if state.executing is None else encode_execution(state.executing),
        )

    async def GetStats(
        self, request: pb.GetStatsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatsResponse:
        """Return the counters that every kind of device has, and the figures of this one."""
        device, host = self._device.counters, self._counters
        return pb.GetStatsResponse(
            mmio_reads=host.mmio_reads,
            mmio_writes=host.mmio_writes,
            mmio_messages=host.mmio_messages,
            mmio_errors=host.mmio_errors,
            notifications_eventfd=device.notifications_eventfd,
            notifications_mmio=device.notifications_mmio,
            notifications_rpc=host.notifications_rpc,
            interrupts=self._device.interrupt.sequence,
            interrupts_suppressed=self._device.interrupt.suppressed,
            requests=device.requests,
            resets=device.resets,
            attaches=self._sessions.attaches,
            figures=figure_values(self._kind, self.collect()),
        )

    async def GetReport(
        self, request: pb.GetReportRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetReportResponse:
        """Return what the driver broke."""
        return make_report(self._device, self._sessions.last_driver)

    async def ClearReport(
        self, request: pb.ClearReportRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ClearReportResponse:
        """Forget what the driver broke."""
        self._sessions.check(session_of(context))
        if isinstance(self._device, Reported):
            observer = self._device.observer
            (observer.begin if request.begin_anew else observer.clear)()
        else:
            self._device.interrupt.clear_violations()
        return pb.ClearReportResponse()


def encode_execution(execution: Execution) -> pb.Execution:
    """Encode a request that is being executed."""
    age_us = round(execution.seconds * 1e6)
    return pb.Execution(request=execution.request, age_us=age_us, held=execution.held)
