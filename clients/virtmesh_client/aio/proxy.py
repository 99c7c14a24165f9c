"""The asyncio face of a blocking object: the same methods, awaited.

    class AsyncDisk(Proxy[Disk]):
        info = awaited(Disk.info)

`awaited` keeps the parameters, the result and the docstring of the method, for people and for type
checkers. There is one implementation, the blocking one, for a reason: gRPC's asyncio streams lose
the service's error when a send is under way as the service ends the call (measured, one time in
four). Cancelling a task ends its call, and waits until nothing of it runs any more.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from virtmesh_client.aio.threads import run_in
from virtmesh_client.channel import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Blocking = TypeVar("Blocking")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Wrapped = TypeVar("Wrapped")


class Proxy(Generic[Blocking]):
    """An object whose methods are awaited."""

    def __init__(self, blocking: Blocking) -> None:
        self._blocking = blocking


class ClosingProxy(Proxy[Blocking], ABC):
    """One that is closed at the end of an `async with`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @abstractmethod
    async def close(self) -> None:
        """Close it."""


def awaited(
    method: Callable[Concatenate[Blocking, Parameters], Result], *, waits: bool = False
) -> Callable[Concatenate[Proxy[Blocking], Parameters], Coroutine[Any, Any, Result]]:
    """Return a method of a proxy that runs a method of its blocking object on a shared thread.

    `waits` says that it waits for what others do (see threads.py).
    """

    @functools.wraps(method)
    async def call(
        self: Proxy[Blocking], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        step = functools.partial(method, self._blocking, *args, **kwargs)
        return await run_in(Scope(), step, waits=waits)

    return call


def awaited_as(
    wrap: Callable[[Result], Wrapped],
    method: Callable[Concatenate[Blocking, Parameters], Result],
) -> Callable[Concatenate[Proxy[Blocking], Parameters], Coroutine[Any, Any, Wrapped]]:
    """Do as `awaited`, and wrap its result."""
    blocking_call = awaited(method)

    @functools.wraps(method)
    async def call(
        self: Proxy[Blocking], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Wrapped:
        return wrap(await blocking_call(self, *args, **kwargs))

    return call


def called_as(
    wrap: Callable[[Result], Wrapped],
    method: Callable[Concatenate[Blocking, Parameters], Result],
) -> Callable[Concatenate[Proxy[Blocking], Parameters], Wrapped]:
    """Return a method of a proxy that is not awaited, since it only makes an object."""

    @functools.wraps(method)
    def call(
        self: Proxy[Blocking], /, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Wrapped:
        return wrap(method(self._blocking, *args, **kwargs))

    return call
