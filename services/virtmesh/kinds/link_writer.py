"""Writes to a stream: at once, if no other write is under way, and else in order behind it."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

Request = TypeVar("Request")


class LinkWriter(Generic[Request]):
    """Writes to a call. A write that fails is not told: who reads the call learns why it ended."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._requests: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None

    def send(self, request: Request) -> None:
        """Write a request as soon as that can be."""
        self._requests.append(request)
        if self._task is None or self._task.done():
            self._task = start_now(self._write())

    async def close(self) -> None:
        """Give up what is not written."""
        self._requests.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self) -> None:
        """Write what there is."""
        while self._requests:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(self._requests.popleft())


def start_now(work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run a coroutine up to its first wait, and the rest as a task; return None if there is none.

    It saves a turn of the loop, as eager tasks of Python 3.12 do. What comes before the first wait
    runs in the task of the caller.
    """
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_finish(work, waits_for))


async def _finish(work: Coroutine[Any, Any, None], waits_for: object) -> None:
    """Go on with a coroutine that waits."""
    await _rest(work, waits_for)


@types.coroutine
def _rest(work: Coroutine[Any, Any, None], waits_for: object) -> Generator[Any, Any, None]:
    """Pass on what a coroutine waits for, and what comes of that."""
    with suppress(StopIteration):
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - as it came
                waits_for = work.throw(error)
            else:
                waits_for = work.send(value)
