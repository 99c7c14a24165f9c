"""Turns exceptions into gRPC errors, in one place for every service.

A VirtmeshError ends its call with the class's code, the message, and a google.rpc.Status in the
trailing metadata. Any other exception is a fault of the service: it is logged here, and the client
learns only that there was one.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog

from virtmesh.errors import DETAILS_KEY, DETAILS_LIMIT, VirtmeshError, cut, to_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
"""By whether requests and responses are streamed: where a handler keeps its behaviour, and what
makes a handler of that kind."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None:  # No such method: gRPC answers UNIMPLEMENTED.
            return handler
        name, make = KINDS[handler.request_streaming, handler.response_streaming]
        return make(
            guard(getattr(handler, name), handler_call_details.method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def guard(behavior: Callable[..., Any], method: str) -> Callable[..., Awaitable[Any]]:
    """Wrap the behaviour of a method, whatever its kind."""

    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            result = behavior(request, context)
            if inspect.isasyncgen(result):
                async for response in result:
                    await context.write(response)
                return None
            return await result if inspect.isawaitable(result) else result
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except VirtmeshError as error:
            await abort(context, error)
        except Exception:
            log.exception("a call failed by a fault of this service", method=method)
            await abort(context, VirtmeshError("a fault of the service; its log says more"))

    return guarded


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: VirtmeshError) -> NoReturn:
    """End a call with an error."""
    status = to_status(error).SerializeToString()
    metadata = ((DETAILS_KEY, status),) if len(status) <= DETAILS_LIMIT + 2048 else ()
    await context.abort(error.code, cut(error.message), metadata)
