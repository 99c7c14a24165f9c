"""What the asyncio faces of streams share: each item of a blocking stream is awaited."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from virtmesh_client.aio.threads import run_in
from virtmesh_client.channel import Cancellable, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Item = TypeVar("Item")
Given_co = TypeVar("Given_co", covariant=True)


class BlockingStream(Cancellable, Protocol[Given_co]):
    """An iterator that another thread can end."""

    def __iter__(self) -> Iterator[Given_co]: ...

    def __next__(self) -> Given_co: ...


class AsyncStream(ABC, Generic[Item]):
    """A blocking stream, awaited. Cancelling a task that waits for an item ends the stream."""

    def __init__(self, stream: BlockingStream[Item]) -> None:
        self._stream = stream
        self._scope = Scope()
        self._scope.add(stream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        step: Callable[[], Item | None] = partial(next, self._stream, None)
        item = await run_in(self._scope, step, waits=True)
        if item is None:
            raise StopAsyncIteration
        return item

    @abstractmethod
    async def close(self) -> None:
        """End the stream."""
