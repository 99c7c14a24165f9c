"""Services that return empty responses at once, for tests and benchmarks of channel and server."""

from __future__ import annotations

from typing import Any

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported

import grpc.aio  # isort: skip

from virtmesh_common.api.kernel.v1 import kernel_pb2, kernel_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc


class EmptyKernel(kernel_pb2_grpc.KernelServiceServicer):
    """A kernel without devices. If `error` is set, its call raises that."""

    error: Exception | None = None

    async def ListDevices(self, request: Any, context: Any) -> kernel_pb2.ListDevicesResponse:
        """List no devices."""
        if self.error is not None:
            raise self.error
        return kernel_pb2.ListDevicesResponse()

    async def ListNodes(self, request: Any, context: Any) -> kernel_pb2.ListNodesResponse:
        """List no nodes."""
        return kernel_pb2.ListNodesResponse()


class ZeroRegisters(register_pb2_grpc.RegisterServiceServicer):
    """Registers that always read 0."""

    async def Read(self, request: Any, context: Any) -> register_pb2.ReadResponse:
        """Read 0."""
        return register_pb2.ReadResponse()

    async def Write(self, request: Any, context: Any) -> register_pb2.WriteResponse:
        """Ignore the value."""
        return register_pb2.WriteResponse()

    async def Access(  # type: ignore[override]  # the stubs know generators only
        self, request_iterator: Any, context: Any
    ) -> None:
        """Answer each batch with an empty response."""
        while await context.read() is not grpc.aio.EOF:
            await context.write(register_pb2.AccessResponse())
