"""Reflection: which services there are, also those that a service forwards to others.

The package of gRPC speaks version v1alpha; v1 has the same messages under another name (gRPC,
src/proto/grpc/reflection/v1/reflection.proto), and tools ask for it first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection import SERVICE_NAME
from grpc_reflection.v1alpha.reflection import aio as reflection

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    Forwarded = Callable[[], Awaitable[Iterable[str]]]

V1_NAME = "grpc.reflection.v1.ServerReflection"
METHOD = "ServerReflectionInfo"
METHODS = frozenset(f"/{name}/{METHOD}" for name in (V1_NAME, SERVICE_NAME))
"""The methods of both versions, by full name."""


async def nothing() -> Iterable[str]:
    """Return the names of what a service forwards that forwards nothing."""
    return ()


class Reflection(reflection.ReflectionServicer):  # type: ignore[misc]  # it has no types
    """Names services, and describes them. `forwarded` returns the names of those of others."""

    def __init__(self, names: Iterable[str], forwarded: Forwarded = nothing) -> None:
        self._own = frozenset((*names, SERVICE_NAME))
        super().__init__(self._own)
        self._forwarded = forwarded

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve both versions."""
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(self, server)
        method = grpc.stream_stream_rpc_method_handler(
            self.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(V1_NAME, {METHOD: method})
        server.add_generic_rpc_handlers((handler,))

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterable[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Answer each request of a stream."""

        async def requests() -> AsyncIterator[Any]:
            async for request in request_iterator:
                if request.HasField("list_services"):
                    self._service_names = sorted(self._own.union(await self._forwarded()))
                yield request

        async for response in super().ServerReflectionInfo(requests(), context):
            yield response
