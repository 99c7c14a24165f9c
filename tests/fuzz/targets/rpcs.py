"""Messages of every RPC that real services offer: only documented errors come back.

The RPCs are found by reflection. A kernel and a device of each kind run in this process, on unix
sockets. After each input all of them answer.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import grpc
from google.protobuf.message import Message

from tests.fuzz.draw import Draw
from tests.fuzz.loop import Loop
from tests.fuzz.messages import fill
from tests.fuzz.rpc_machine import Method, Offered, machine
from tests.fuzz.target import Target
from virtmesh_common.channel import DEVICE_KEY

SECONDS = 0.3
"""How long a call may take; a stream is ended then."""
ANSWERS = 4
"""Messages of a stream that are read."""
MESSAGES = 4
"""Most messages of a stream that are sent."""
BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
"""Codes that say that a service has a fault."""


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Start the services."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, Loop() as loop:
        undo = AsyncExitStack()
        offered = loop.run(undo.enter_async_context(machine(Path(folder))))
        try:
            yield lambda data: loop.run(attack(offered, Draw(data)))
        finally:
            loop.run(undo.aclose())


async def attack(offered: Offered, draw: Draw) -> None:
    """Make some calls, then see that everybody answers."""
    for _ in range(1 + draw.byte() % 3):
        method = draw.choose(offered.methods)
        count = draw.byte() % (MESSAGES + 1) if method.client_streaming else 1
        messages = [fill(method.request(), draw) for _ in range(count)]
        channel, device = draw.choose(offered.channels), draw.choose(offered.devices)
        # The blocking client: that of asyncio loses the status of a stream that ends early.
        await asyncio.to_thread(call, channel, method, messages, device)
    await asyncio.to_thread(offered.check)


def call(channel: grpc.Channel, method: Method, messages: list[Message], device: str) -> None:
    """Make a call; read some of what is answered. Errors: AssertionError for a fault."""
    answers = channel.stream_stream(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )(iter(messages), timeout=SECONDS, metadata=((DEVICE_KEY, device),))
    with suppress(grpc.RpcError):
        for _ in zip(range(ANSWERS), answers, strict=False):
            pass
    answers.cancel()  # One that has ended keeps its status.
    assert answers.code() not in BROKEN, (method.path, messages, device, answers.details())


TARGET = Target(opened, lambda: [bytes([0, number, *[0] * 8]) for number in range(0, 64, 4)], 512)
