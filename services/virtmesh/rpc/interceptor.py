"""What every call passes: its caller is let in, it is counted, exceptions become statuses.

A VirtmeshError ends its call with the code of its class, its message, and a google.rpc.Status in
the trailing metadata. Any other exception is a fault of the service: it is logged with a traceback,
and the client is told only that there was one.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog

from virtmesh.rpc.audit import UNKNOWN
from virtmesh.rpc.entry import Entry
from virtmesh.rpc.metrics import CallCounts
from virtmesh.rpc.parsing import Malformed, tolerant
from virtmesh.rpc.request_sizes import largest_request
from virtmesh_common.errors import (
    DETAILS_KEY,
    DETAILS_LIMIT,
    BadRequest,
    CallCancelled,
    NotOffered,
    VirtmeshError,
    cut,
    to_status,
)
from virtmesh_common.request_id import REQUEST_ID, REQUEST_ID_KEY, check_request_id
from virtmesh_common.security.roles import EVERYONE, Access

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable

    from virtmesh.rpc.gate import Gate
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
GONE_S = 0.1
"""A call without a request waits so long: if its client has gone, gRPC says so meanwhile."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server. Without a gate everybody is let in: for tests of services."""

    def __init__(self, gate: Gate | None = None, counts: CallCounts | None = None) -> None:
        self.counts = counts or CallCounts()
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        metadata = handler_call_details.invocation_metadata or ()
        entry: Entry | None = None
        if self._gate is not None:
            access = self._gate.access(method) if handler else Access(method, EVERYONE)
            entry = Entry(self._gate, access, metadata)
        if handler is None:  # gRPC would say so to callers without an identity, too.
            handler, method = not_offered(method), UNKNOWN
        call = Call(handler, method, self.counts.of(method), find_request_id(metadata), entry)
        # On the wire a request is a stream of one. gRPC would ask for the message of a method that
        # takes one before anybody knows whose it is.
        _, make = KINDS[True, handler.response_streaming]
        return make(
            call.serve,
            request_deserializer=tolerant(handler.request_deserializer, largest_request(method)),
            response_serializer=handler.response_serializer,
        )


class Call:
    """One call of a method, whatever its kind."""

    __slots__ = (
        *("_answers_late", "_asks", "_behavior", "_counts", "_ended", "_entry", "_method"),
        *("_request_id", "_streams", "_takes_one", "_task"),
    )

    def __init__(
        self,
        handler: grpc.RpcMethodHandler[Any, Any],
        method: str,
        counts: MethodCounts,
        request_id: str,
        entry: Entry | None = None,
    ) -> None:
        streams = handler.request_streaming, handler.response_streaming
        self._behavior: Callable[..., Any] = getattr(handler, KINDS[streams][0])
        self._method = method
        self._counts = counts
        self._request_id = request_id
        self._entry = entry
        self._streams = any(streams)
        self._answers_late = streams[1]
        self._asks: bool = getattr(self._behavior, "asks", False)
        """The method gets what asks for its request, in place of the request."""
        self._takes_one = self._asks or not streams[0]
        self._ended: VirtmeshError | None = None
        """Why it was ended from outside."""
        self._task: asyncio.Task[Any] | None = None
        """What runs a stream."""

    async def serve(self, requests: Any, context: Any) -> Any:
        """Run the method, turn its exception into a status, and count how the call ended."""
        counts = self._counts
        counts.started += 1
        begun = monotonic()
        code = CANCELLED
        if self._request_id:  # gRPC runs each call in a context of its own
            REQUEST_ID.set(self._request_id)
            structlog.contextvars.bind_contextvars(request_id=self._request_id)
        try:
            if self._entry:
                self._task = asyncio.current_task() if self._streams else None
                self._entry.begin(self, context, streams=self._streams)
            result = await self._run(requests, context)
        except grpc.aio.AbortError:
            code = name_of(context.code())
            self._log(code, context.details())
            raise
        except grpc.aio.InternalError:  # Nothing can be sent any more: the client is gone.
            raise asyncio.CancelledError from None
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it ends the call
            failure = self._failure(error)
            code = failure.code.name
        else:
            code = OK
            counts.sent += not self._streams
            self._log(code)
            return result
        finally:
            counts.handled[code] += 1
            counts.durations.observe(monotonic() - begun)
            if self._entry:
                self._entry.finish(self, code)
                self._task = None
        # It is counted by now: who hears of the failure may look at the counters at once.
        try:
            return await abort(context, failure)
        except grpc.aio.InternalError:  # As above. gRPC would log a traceback.
            raise asyncio.CancelledError from None

    def end(self, error: VirtmeshError) -> None:
        """End a call under way by an error, once."""
        if self._task is not None and self._ended is None:
            self._ended = error
            self._task.cancel()

    async def _run(self, requests: Any, context: Any) -> Any:
        """Run the method to its end. Errors: those of the method; BadRequest; MessageTooLarge."""
        request, context = await self._begin(requests, context)
        result = self._behavior(request, context)
        if inspect.isasyncgen(result):
            async for response in result:
                await context.write(response)
            return None
        return await result if inspect.isawaitable(result) else result

    def _failure(self, error: BaseException) -> VirtmeshError:
        """Return what the client is told of an error. A cancellation from outside is raised."""
        if self._ended is not None and self._task is not None:
            self._task.uncancel()
            if not self._task.cancelling():
                error = self._ended
        if isinstance(error, VirtmeshError):
            self._log(error.code.name, error.message)
            return error
        if isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is None or task.cancelling():  # The client gave up, or the service stops.
                raise error
            log.warning("what a call waited for was cancelled", method=self._method)
            return CallCancelled("the service gave up what the call waited for: try again")
        log.error("a call failed by a fault of this service", method=self._method, exc_info=error)
        return VirtmeshError("a fault of the service; its log says more")

    async def _begin(self, requests: AsyncIterable[Any], context: Any) -> tuple[Any, Any]:
        """Return what the method gets: a stream's messages are counted, and its headers are sent.

        Clients of other languages wait for the headers before they hand the stream to their caller.
        Errors: BadRequest; MessageTooLarge.
        """
        request: Any = None
        if self._asks:
            request = partial(self._ask, context)
        elif self._takes_one:
            request = await self._ask(context)
        if not self._streams:
            return request, context
        if self._answers_late and not getattr(self._behavior, "sends_headers", False):
            await context.send_initial_metadata(())
        if not self._takes_one:
            request = CountingIterable(requests, self._counts, self._parsed)
        return request, CountingContext(context, self._counts, self._parsed)

    async def _ask(self, context: Any) -> Any:
        """Return the one request, once it has come. Errors: BadRequest; MessageTooLarge."""
        request = await context.read()
        if request is grpc.aio.EOF:
            await asyncio.sleep(GONE_S)
            raise BadRequest(f"no request of {self._method} came: send one")
        self._counts.received += 1
        return self._parsed(request)

    def _parsed(self, request: Any) -> Any:
        """Return a request. Errors: BadRequest for one that does not parse; MessageTooLarge."""
        if isinstance(request, Malformed):
            log.warning("a request does not parse", method=self._method)
            raise request.error(self._method)
        if self._entry:
            self._entry.see(request)
        return request

    def _log(self, code: str, error: str = "") -> None:
        """Log a call if its client sent an identifier, and was let in."""
        counts, request_id = self._counts, self._request_id
        if not request_id or (self._entry and not self._entry.is_in):
            return
        if code != OK:
            log.info("call", method=self._method, code=code, error=cut(error))
        elif counts.last_logged != request_id:  # One line is enough for a client that polls.
            counts.last_logged = request_id
            log.info("call", method=self._method, code=code)


class CountingContext:
    """The context of a stream that counts messages; all else is forwarded to the real context."""

    def __init__(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        counts: MethodCounts,
        parsed: Callable[[Any], Any],
    ) -> None:
        self._context = context
        self._counts = counts
        self._parsed = parsed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Read a message; EOF is none. Errors: BadRequest."""
        message = await self._context.read()
        if message is not grpc.aio.EOF:
            self._counts.received += 1
        return self._parsed(message)

    async def write(self, message: Any) -> None:
        """Write a message."""
        await self._context.write(message)
        self._counts.sent += 1


class CountingIterable:
    """The requests of a stream, counted while a method iterates over them."""

    def __init__(
        self,
        requests: AsyncIterable[Any],
        counts: MethodCounts,
        parsed: Callable[[Any], Any],
    ) -> None:
        self._requests = requests
        self._counts = counts
        self._parsed = parsed

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for request in self._requests:
            self._counts.received += 1
            yield self._parsed(request)


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


def not_offered(method: str) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler of a method that there is not."""

    async def refuse(_requests: object, _context: object) -> NoReturn:
        raise NotOffered(f"the service does not offer {method}")

    refuse.sends_headers = True  # type: ignore[attr-defined]  # it has nothing but a status
    # On the wire a single message is a stream of one: this one shape serves every method.
    return grpc.stream_stream_rpc_method_handler(refuse)


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: VirtmeshError) -> NoReturn:
    """End a call with an error."""
    status = to_status(error).SerializeToString()
    metadata = ((DETAILS_KEY, status),) if len(status) <= DETAILS_LIMIT + 2048 else ()
    await context.abort(error.code, cut(error.message), metadata)
