"""Writes to a stream whose writes take as long as the test says."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.kinds.link_writer import LinkWriter


class Call:
    """A call that writes while `goes` is set, and fails once it is `over`."""

    def __init__(self) -> None:
        self.goes = asyncio.Event()
        self.over = False
        self.begun: list[int] = []
        self.written: list[int] = []

    async def write(self, request: int) -> None:
        """Write a request."""
        if self.over:
            raise asyncio.InvalidStateError
        self.begun.append(request)
        await self.goes.wait()
        self.written.append(request)


async def test_a_write_begins_at_once() -> None:
    """No turn of the loop comes before it; the next one waits for its end."""
    call = Call()
    writer = LinkWriter[int](call)
    writer.send(1)
    writer.send(2)
    assert call.begun == [1]
    call.goes.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert call.written == [1, 2]
    writer.send(3)
    assert call.written == [1, 2, 3]
    await writer.close()


async def test_a_write_that_fails_is_not_told() -> None:
    """Who sends has no use for it."""
    call = Call()
    call.over = True
    writer = LinkWriter[int](call)
    writer.send(1)
    await writer.close()
    assert call.begun == []


@pytest.mark.parametrize("turns", [0, 2])
async def test_a_writer_that_is_closed_in_a_write(turns: int) -> None:
    """The write ends, and nothing comes behind it."""
    call = Call()
    writer = LinkWriter[int](call)
    writer.send(1)
    writer.send(2)
    for _ in range(turns):
        await asyncio.sleep(0)
    await writer.close()
    call.goes.set()
    await asyncio.sleep(0)
    assert call.begun == [1]
    assert call.written == []
