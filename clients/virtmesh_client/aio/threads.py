"""Blocking operations awaited: each runs on a thread of its own, and is cancelled with its task."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from virtmesh_client.channel import SCOPE, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

CANCEL_GRACE_SECONDS = 5.0
"""How long a cancelled operation may take to end; only a stuck local file takes longer."""


async def run(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Run a blocking operation on a daemon thread; cancelling it cancels its calls."""
    return await run_in(Scope(), function, *args, **kwargs)


async def run_in(
    scope: Scope,
    function: Callable[Parameters, Result],
    *args: Parameters.args,
    **kwargs: Parameters.kwargs,
) -> Result:
    """Run one step of an operation whose calls belong to `scope`."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()
    context = contextvars.copy_context()
    context.run(SCOPE.set, scope)

    def put(setter: Callable[[Any], object], value: object) -> None:
        if not outcome.done():
            setter(value)

    def settle(setter: Callable[[Any], object], value: object) -> None:
        # The loop may be closed by the time an abandoned thread ends.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(put, setter, value)

    def work() -> None:
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is raised in the task
            settle(outcome.set_exception, error)
        else:
            settle(outcome.set_result, result)

    threading.Thread(target=work, name="virtmesh-client", daemon=True).start()
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        scope.cancel()
        await asyncio.wait([outcome], timeout=CANCEL_GRACE_SECONDS)
        if outcome.done():
            outcome.exception()  # seen: a cancelled task raises CancelledError, not this
        raise
