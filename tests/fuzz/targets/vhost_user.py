"""A vhost-user front end that says anything, in any order: the next one gets a disk that works."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from tests.fuzz.draw import Draw
from tests.fuzz.loop import Loop
from tests.fuzz.target import Target
from tests.support.vhost_user.backend import Backend, serve
from tests.vhost_user.test_any_front_end import (
    DRIVER_AREA,
    FILES,
    OFFERED,
    RING_BYTES,
    Said,
    conversation,
    talk,
)
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import SHAPES, Request
from virtmesh_common.errors import FrontEndViolation
from virtmesh_common.virtio.features import Feature

CHANGES_MAX = 5
LENGTHS = (None, None, None, 0, 1, vu.PAYLOAD_LIMIT, 1 << 31)


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Serve a disk to front ends."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, Loop() as loop:
        undo = AsyncExitStack()
        backend = loop.run(undo.enter_async_context(serve(Path(folder))))
        try:
            yield lambda data: loop.run(attack(backend, Draw(data)))
        finally:
            loop.run(undo.aclose())


async def attack(backend: Backend, draw: Draw) -> None:
    """Say what an input chooses."""
    parse(draw)
    packed = int(Feature.VIRTIO_F_RING_PACKED) if draw.chance(2) else 0
    messages = conversation(int(OFFERED) & ~packed)
    for _ in range(draw.byte() % (CHANGES_MAX + 1)):
        change(messages, draw)
    ring = draw.take(128).ljust(DRIVER_AREA, b"\0") + draw.take(32)
    with capture_logs() as entries:
        async with backend.connected() as front_end:
            await talk(front_end, messages, ring[:RING_BYTES])
        assert await backend.works()
    assert [entry for entry in entries if entry["log_level"] in {"error", "critical"}] == []


def parse(draw: Draw) -> None:
    """Parse any bytes as a payload: whole, or not at all."""
    kind = SHAPES[draw.choose(tuple(Request))].payload
    data = draw.piece(255)
    with suppress(FrontEndViolation):
        assert len(kind.parse(data).pack()) <= len(data)


def change(messages: list[Said], draw: Draw) -> None:
    """Make a mistake."""
    place = draw.byte() % len(messages)
    message = messages[place]
    match draw.byte() % 6:
        case 0 if len(messages) > 1:
            del messages[place]
        case 1:
            messages.insert(draw.byte() % len(messages), message)
        case 2:
            count = draw.byte() % 10
            messages[place] = replace(
                message, files=tuple(draw.choose(FILES) for _ in range(count))
            )
        case 3:
            length, flags = draw.choose(LENGTHS), draw.choose((1, 9, draw.byte()))
            messages[place] = replace(message, length=length, flags=flags)
        case 4:
            request = draw.choose(tuple(Request))
            messages.insert(place, Said(int(request), draw.piece(64), ()))
        case _:
            width = draw.choose((4, 8))
            if len(message.payload) >= width:
                start = draw.byte() % (len(message.payload) // width) * width
                piece = draw.edge(width).to_bytes(width, "little")
                payload = message.payload[:start] + piece + message.payload[start + width :]
                messages[place] = replace(message, payload=payload)


TARGET = Target(opened, longest=512)
