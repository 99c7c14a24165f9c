"""What every call passes: it is counted, its identifier is logged, exceptions become statuses.

A VirtmeshError ends its call with the code of its class, its message, and a google.rpc.Status in
the trailing metadata. Any other exception is a fault of the service: it is logged with a traceback,
and the client is told only that there was one.
"""

from __future__ import annotations

import inspect
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog

from virtmesh.rpc.metrics import CallCounts
from virtmesh_common.errors import DETAILS_KEY, DETAILS_LIMIT, VirtmeshError, cut, to_status
from virtmesh_common.request_id import REQUEST_ID, REQUEST_ID_KEY, check_request_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    from virtmesh.rpc.metrics import MethodCounts

log = structlog.get_logger(__name__)

KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
"""By whether requests and responses are streamed: where a handler keeps its behaviour, and what
makes a handler of that kind."""
OK, CANCELLED = "OK", "CANCELLED"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server."""

    def __init__(self) -> None:
        self.counts = CallCounts()

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
        streams = handler.request_streaming, handler.response_streaming
        name, make = KINDS[streams]
        method = handler_call_details.method
        call = Call(
            getattr(handler, name),
            method,
            self.counts.of(method),
            find_request_id(handler_call_details.invocation_metadata),
            streams=any(streams),
        )
        return make(
            call.serve,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


class Call:
    """One call of a method, whatever its kind."""

    __slots__ = ("_behavior", "_counts", "_method", "_request_id", "_streams")

    def __init__(
        self,
        behavior: Callable[..., Any],
        method: str,
        counts: MethodCounts,
        request_id: str,
        *,
        streams: bool,
    ) -> None:
        self._behavior = behavior
        self._method = method
        self._counts = counts
        self._request_id = request_id
        self._streams = streams

    async def serve(self, request: Any, context: Any) -> Any:
        """Run the method, turn its exception into a status, and count how the call ended."""
        counts = self._counts
        counts.started += 1
        begun = monotonic()
        code = CANCELLED
        if self._streams:
            request, context = self._counting(request, context)
        else:
            counts.received += 1
        if self._request_id:  # gRPC runs each call in a context of its own
            REQUEST_ID.set(self._request_id)
            structlog.contextvars.bind_contextvars(request_id=self._request_id)
        try:
            result = self._behavior(request, context)
            if inspect.isasyncgen(result):
                async for response in result:
                    await context.write(response)
                result = None
            elif inspect.isawaitable(result):
                result = await result
        except grpc.aio.AbortError:
            code = name_of(context.code())
            self._log(code, context.details())
            raise
        except VirtmeshError as error:
            code = error.code.name
            self._log(code, error.message)
            failure = error
        except Exception:
            code = grpc.StatusCode.INTERNAL.name
            log.exception("a call failed by a fault of this service", method=self._method)
            failure = VirtmeshError("a fault of the service; its log says more")
        else:
            code = OK
            counts.sent += not self._streams
            self._log(code)
            return result
        finally:
            counts.handled[code] += 1
            counts.durations.observe(monotonic() - begun)
        # It is counted by now: who hears of the failure may look at the counters at once.
        return await abort(context, failure)

    def _counting(self, request: Any, context: Any) -> tuple[Any, CountingContext]:
        """Wrap the requests and the context of a stream, so that messages are counted."""
        if hasattr(request, "__aiter__"):
            request = CountingIterable(request, self._counts)
        else:
            self._counts.received += 1
        return request, CountingContext(context, self._counts)

    def _log(self, code: str, error: str = "") -> None:
        """Log a call if its client sent an identifier."""
        counts, request_id = self._counts, self._request_id
        if not request_id:
            return
        if code != OK:
            log.info("call", method=self._method, code=code, error=cut(error))
        elif counts.last_logged != request_id:  # One line is enough for a client that polls.
            counts.last_logged = request_id
            log.info("call", method=self._method, code=code)


class CountingContext:
    """The context of a stream that counts messages; all else is forwarded to the real context."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], counts: MethodCounts) -> None:
        self._context = context
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Read a message; EOF is none."""
        message = await self._context.read()
        if message is not grpc.aio.EOF:
            self._counts.received += 1
        return message

    async def write(self, message: Any) -> None:
        """Write a message."""
        await self._context.write(message)
        self._counts.sent += 1


class CountingIterable:
    """The requests of a stream, counted while a method iterates over them."""

    def __init__(self, requests: AsyncIterable[Any], counts: MethodCounts) -> None:
        self._requests = requests
        self._counts = counts

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for request in self._requests:
            self._counts.received += 1
            yield request


def find_request_id(metadata: Iterable[tuple[str, Any]] | None) -> str:
    """Return the identifier that a client sent with its call; empty if it is missing or invalid."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY:
            return check_request_id(value)
    return ""


def name_of(code: Any) -> str:
    """Return the name of a status. grpc.aio reports it as a code or as a number."""
    for status in grpc.StatusCode:
        if code is status or code == status.value[0]:
            return status.name
    return grpc.StatusCode.UNKNOWN.name


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: VirtmeshError) -> NoReturn:
    """End a call with an error."""
    status = to_status(error).SerializeToString()
    metadata = ((DETAILS_KEY, status),) if len(status) <= DETAILS_LIMIT + 2048 else ()
    await context.abort(error.code, cut(error.message), metadata)
