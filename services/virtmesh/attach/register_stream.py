"""The driver's end of RegisterService.Access: batches as messages of a gRPC stream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.attach.exchange import Answer, Exchange, Refusal
from virtmesh_common.api.register.v1 import register_pb2 as pb
from virtmesh_common.errors import BadStream

if TYPE_CHECKING:
    from virtmesh_common.errors import VirtmeshError


class RegisterStream:
    """Sends batches on a stream. Whoever has it runs `send` and `receive`, each in a task."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._outgoing: asyncio.Queue[Exchange] = asyncio.Queue()
        self._sent: deque[Exchange] = deque()

    def submit(self, exchange: Exchange) -> None:
        """Send a batch. Does not wait."""
        self._outgoing.put_nowait(exchange)

    def fail(self, error: VirtmeshError) -> None:
        """Fail every batch without an answer."""
        while not self._outgoing.empty():
            self._sent.append(self._outgoing.get_nowait())
        while self._sent:
            self._sent.popleft().fail(error.again())

    def close(self) -> None:
        """Do nothing: the tasks are cancelled by whoever runs them."""

    async def send(self) -> None:
        """Write requests to the stream.

        Callers do not write themselves: a task that is cancelled inside a write cancels the stream.
        """
        while True:
            exchange = await self._outgoing.get()
            if exchange.answer.done():
                continue  # Its caller was cancelled before it was sent.
            self._sent.append(exchange)
            offsets, ops, values = exchange.columns()
            await self._stream.write(pb.AccessRequest(offsets=offsets, ops=ops, values=values))

    async def receive(self) -> None:
        """Pass each answer to the oldest request without one. Errors: BadStream."""
        while (response := await self._stream.read()) is not grpc.aio.EOF:
            if not self._sent:
                raise BadStream("it sent an answer on the register stream without a request")
            refusal = None
            if response.HasField("error"):
                error = response.error
                refusal = Refusal(error.index, error.reason, error.message)
            self._sent.popleft().set(Answer(list(response.values), refusal))
        raise BadStream("it ended the register stream")
