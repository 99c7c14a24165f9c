"""Counts every call on the budgets of its client, or refuses it (LimitReached).

The one request of a call is asked for after that. It stands inside of the interceptor that turns
errors into statuses, and outside of all services.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from virtmesh.rpc.budgets import Account, Use, set_account
from virtmesh.rpc.caller import CALLER
from virtmesh.rpc.client_key import client_key
from virtmesh.rpc.interceptor import KINDS
from virtmesh.rpc.metrics import is_unary, known_methods
from virtmesh.rpc.reception import Reception
from virtmesh.rpc.request_sizes import takes_one
from virtmesh_common.request_id import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from virtmesh.rpc.budgets import Budgets

FREE = frozenset(("/grpc.health.v1.Health/Check",))
"""Methods that are always answered: who watches over a service must not take it for dead."""
TRANSFERS = frozenset(
    f"/virtmesh.kernel.v1.BlockDeviceService/{method}"
    for method in ("Read", "Write", "Export", "Import")
)
"""Streams that the budget of transfers bounds, in place of that of streams."""
FREE_CROWD = 256
"""So many clients may wait for that who have not called before: more are refused."""
FREE_REQUESTS = 32
"""So many of their requests may have come in part. For one more, the oldest leaves at once."""


class BudgetInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._calls = budgets.use("calls")
        self._streams = budgets.use("streams")
        self._request_streams = budgets.use("request-streams")
        self._free = Reception(
            Use("free-requests", FREE_REQUESTS, turns=budgets.calls),
            0,
            budgets.limits.request_seconds,
            FREE_CROWD,
        )
        self._known: dict[str, tuple[object, grpc.RpcMethodHandler[Any, Any] | None]] = {}
        """By method: the last handler, and the one that counts for it."""

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
        if handler is None:
            return handler
        known, counted = self._known.get(method, (None, None))
        if known is handler:  # Methods of services always have the same one.
            return counted
        name, make = KINDS[handler.request_streaming, handler.response_streaming]
        behavior = getattr(handler, name)
        one = not handler.request_streaming or takes_one(method)
        if one and handler.request_streaming:
            behavior = of_one(behavior)
        counted = make(
            self._free_of_budgets(behavior)
            if method in FREE
            else self._counted(
                behavior,
                self._uses(method, handler, one=one),
                one=one,
                answers_late=handler.response_streaming,
            ),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        if method in known_methods():
            self._known[method] = handler, counted
        return counted

    def _uses(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any], *, one: bool
    ) -> tuple[Use, ...]:
        """Return what a call of a method counts on, beside what its request does."""
        streams = handler.request_streaming or handler.response_streaming
        # The handler of a forwarded call takes and gives streams, whatever its method does.
        if method in TRANSFERS or not streams or is_unary(method):
            return (self._calls,)
        if one:
            return (self._calls, self._streams)
        return (self._calls, self._streams, self._request_streams)

    def _free_of_budgets(
        self, behavior: Callable[..., Any]
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        """Return a method with one request and one response that is always answered."""

        async def serve(ask: Callable[[], Awaitable[Any]], context: Any) -> Any:
            client = client_key(CALLER.get(), REQUEST_ID.get())
            self._budgets.calls.visit(client)
            return await behavior(await self._free.receive(client, ask), context)

        serve.sends_headers = getattr(behavior, "sends_headers", False)  # type: ignore[attr-defined]
        serve.asks = True  # type: ignore[attr-defined]
        return serve

    def _counted(
        self,
        behavior: Callable[..., Any],
        uses: tuple[Use, ...],
        *,
        one: bool,
        answers_late: bool,
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        """Return a method that counts while it runs. Errors: LimitReached; those of the method.

        It sends the headers of one that `answers_late`: what is refused costs none. Of a method
        that takes `one` request, it gets what asks for that.
        """
        budgets = self._budgets
        turns, reception = budgets.calls, budgets.reception
        headers = answers_late and not getattr(behavior, "sends_headers", False)

        async def serve(request: Any, context: Any) -> Any:
            client = client_key(CALLER.get(), REQUEST_ID.get())
            for use in uses:
                if blocker := use.blocker(client, 1):
                    await budgets.slow_down()
                    raise use.refusal(blocker)
            for use in uses:
                use.take(client, 1)
            try:
                await turns.take(client)
                set_account(Account(budgets, client))
                if one:
                    request = await reception.receive(client, request)
                if headers:
                    await context.send_initial_metadata(())
                result = behavior(request, context)
                if inspect.isasyncgen(result):
                    async for response in result:
                        await context.write(response)
                    return None
                return await result if inspect.isawaitable(result) else result
            finally:
                for use in uses:
                    use.give(client, 1)

        serve.sends_headers = True  # type: ignore[attr-defined]
        serve.asks = one  # type: ignore[attr-defined]
        return serve


def of_one(behavior: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return a method that takes a request, of one that takes a stream of them."""

    def serve(request: Any, context: Any) -> Any:
        async def requests() -> AsyncIterator[Any]:
            yield request

        return behavior(requests(), context)

    serve.sends_headers = getattr(behavior, "sends_headers", False)  # type: ignore[attr-defined]
    return serve
