"""Front ends that stall, come in numbers, take no answers, or answer what nobody asked."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.support.vhost_user.backend import Backend, Reasons, open_descriptors, wait_closed
from tests.support.vhost_user.disk import VhostDisk
from virtmesh.vhost_user import framing as vhost_socket
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user import server as vhost_server
from virtmesh.vhost_user.messages import HEADER, Request
from virtmesh_common.blk.spec import SECTOR

QUESTION = HEADER.pack(Request.GET_FEATURES, vu.VERSION, 0)
AT_ONCE = 0.01
"""A limit, in seconds, that is over soon."""


async def test_who_stalls_in_a_first_message_keeps_nobody_waiting(backend: Backend) -> None:
    """The device is given to whoever has said something whole."""
    async with backend.connected() as stalled:
        stalled.connection.sendall(QUESTION[:5])
        assert await backend.works()


async def test_who_says_nothing_is_sent_away(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection costs descriptors of the service."""
    monkeypatch.setattr(vhost_server, "FIRST_MESSAGE_SECONDS", AT_ONCE)
    async with backend.connected() as silent:
        assert await silent.lost()


async def test_who_has_the_device_and_stalls_in_a_message_loses_it(
    backend: Backend, reasons: Reasons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of a message has to come within a time; between messages there is no limit."""
    async with backend.driven() as (front_end, _):
        monkeypatch.setattr(vhost_socket, "MESSAGE_SECONDS", AT_ONCE)
        front_end.connection.sendall(QUESTION[:5])
        assert await front_end.lost()
        monkeypatch.undo()
    assert "did not come within" in reasons()
    assert await backend.works()


async def test_a_connection_above_the_limit_takes_the_place_of_a_silent_one(
    backend: Backend,
) -> None:
    """There are only so many that wait; of a process that has most of them the oldest leaves."""
    async with AsyncExitStack() as stack:
        silent = [
            await stack.enter_async_context(backend.connected())
            for _ in range(vhost_server.CONNECTIONS_MAX)
        ]
        late = await stack.enter_async_context(backend.connected())
        late.post(Request.GET_FEATURES)
        assert (await late.answer()).request == Request.GET_FEATURES
        assert await silent[0].lost()


async def test_who_has_the_device_is_not_pushed_out(backend: Backend) -> None:
    """However many wait for it."""
    async with backend.driven() as (_, ring), AsyncExitStack() as stack:
        for _ in range(2 * vhost_server.CONNECTIONS_MAX):
            waiting = await stack.enter_async_context(backend.connected())
            waiting.post(Request.GET_FEATURES)
        disk = VhostDisk(ring)
        await disk.write(7, bytes(SECTOR))
        assert await disk.read(7) == bytes(SECTOR)


async def test_who_takes_no_answers_loses_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """Answers are not kept for it."""
    loop = asyncio.get_running_loop()
    async with backend.connected() as front_end:
        with pytest.raises(ConnectionError):
            await loop.sock_sendall(front_end.connection, QUESTION * 1_000_000)
    assert "does not take its answers" in reasons()
    assert await backend.works()


async def test_a_hundred_front_ends_leave_nothing_behind(backend: Backend) -> None:
    """Each shares memory, has logs made, drives a ring, and goes without a word."""
    before = await open_descriptors(backend)
    for _ in range(100):
        async with backend.ready() as front_end:
            await front_end.take_logs()
            await front_end.take_requests()
            await front_end.start_ring()
    await wait_closed(backend, before)
