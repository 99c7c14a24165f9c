"""Counts every call on the budgets of its client, or refuses it (LimitReached).

It stands inside of the interceptor that turns errors into statuses, and outside of all services.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from virtmesh.rpc.budgets import Account, set_account
from virtmesh.rpc.caller import CALLER
from virtmesh.rpc.client_key import client_key
from virtmesh.rpc.interceptor import KINDS
from virtmesh.rpc.metrics import known_methods
from virtmesh_common.request_id import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from virtmesh.rpc.budgets import Budgets, Use

FREE = frozenset(("/grpc.health.v1.Health/Check",))
"""Methods that are always answered: who watches over a service must not take it for dead."""
TRANSFERS = frozenset(
    f"/virtmesh.kernel.v1.BlockDeviceService/{method}" for method in ("Read", "Write")
)
"""Streams that the budget of transfers bounds, in place of that of streams."""


class BudgetInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every method of a server."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._calls = budgets.use("calls")
        self._streams = budgets.use("streams")
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
        if handler is None or method in FREE:
            return handler
        streams = handler.request_streaming, handler.response_streaming
        name, make = KINDS[streams]
        known, counted = self._known.get(method, (None, None))
        if known is handler:  # Methods of services always have the same one.
            return counted
        uses: tuple[Use, ...] = (self._calls,)
        if any(streams) and method not in TRANSFERS:
            uses = (self._calls, self._streams)
        counted = make(
            self._counted(getattr(handler, name), uses, answers_late=streams[1]),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        if method in known_methods():
            self._known[method] = handler, counted
        return counted

    def _counted(
        self, behavior: Callable[..., Any], uses: tuple[Use, ...], *, answers_late: bool
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        """Return a method that counts while it runs. Errors: LimitReached; those of the method.

        It sends the headers of one that `answers_late`: what is refused costs none.
        """
        budgets = self._budgets
        turns = budgets.calls
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
        return serve
