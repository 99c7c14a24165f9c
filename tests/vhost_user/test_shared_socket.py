"""The socket of SET_BACKEND_REQ_FD, whose front end keeps a duplicate: it sets what it likes."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.held_locks import held_locks
from tests.support.lingering import LINGER_SECONDS, SOON, Lingering, lingering_sockets
from tests.support.vhost_user.backend import (
    MIB,
    Backend,
    Reasons,
    open_descriptors,
    serve,
    wait_closed,
)
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import PROTOCOL, FrontEndRing, VhostFrontEnd
from tests.vhost_user.test_blocking_descriptors import MESSAGES
from virtmesh.rpc.strangers import SO_PASSRIGHTS
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.framing import MessageSocket
from virtmesh.vhost_user.messages import BackendRequest, ProtocolFeature, Request
from virtmesh_common.blk.spec import SECTOR, RequestType

SO_PASSPIDFD = 76
"""Whether packets bring a pidfd of their sender (Linux 6.5)."""
READ = vu.U64(0).pack()


@pytest.fixture
async def in_band(tmp_path: Path) -> AsyncIterator[Backend]:
    """Serve a disk whose notifications are messages, if the front end likes."""
    async with serve(tmp_path, in_band=True) as backend:
        yield backend


async def share_requests(front_end: VhostFrontEnd) -> tuple[socket.socket, socket.socket]:
    """Give the back end a socket for requests. Return our end, and a duplicate of that socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    await front_end.tell(Request.SET_BACKEND_REQ_FD, descriptors=[theirs.fileno()])
    return ours, theirs


@asynccontextmanager
async def called(
    backend: Backend, prepare: Callable[[socket.socket, socket.socket], object] = lambda *_: None
) -> AsyncIterator[tuple[VhostFrontEnd, MessageSocket, socket.socket]]:
    """Drive a ring whose calls are messages, up to its first call, which wants an answer.

    `prepare` gets the front end's socket, and its duplicate of the back end's, before any call.
    """
    async with backend.connected() as front_end:
        await front_end.negotiate(protocol=PROTOCOL | ProtocolFeature.INBAND_NOTIFICATIONS)
        ours, theirs = await share_requests(front_end)
        prepare(ours, theirs)
        await front_end.share()
        ring = FrontEndRing.make(0, front_end.ram, 16, front_end.features)
        front_end.rings.append(ring)
        await front_end.tell(Request.SET_VRING_NUM, vu.VringState(0, 16))
        await front_end.tell(Request.SET_VRING_ADDR, ring.areas)
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        VhostDisk(ring).submit(RequestType.VIRTIO_BLK_T_OUT, 0, b"i" * SECTOR)
        await front_end.tell(Request.VRING_KICK, vu.VringState(0, 0))
        requests = MessageSocket(ours)
        call = await requests.receive()
        assert call is not None
        assert (call.request, call.needs_reply) == (BackendRequest.VRING_CALL, True)
        with theirs:
            yield front_end, requests, theirs
        requests.close()


def take_everything(shared: socket.socket) -> None:
    """Have a socket take descriptors, and everything else that fills the room for them."""
    for option in (SO_PASSRIGHTS, SO_PASSPIDFD, socket.SO_PASSCRED, socket.SO_PASSSEC):
        with suppress(OSError):  # An older kernel.
            shared.setsockopt(socket.SOL_SOCKET, option, 1)


@pytest.mark.parametrize("make", [Lingering.make, Lingering.nested])
async def test_a_descriptor_whose_close_lingers(
    backend: Backend, make: Callable[[Lingering], int]
) -> None:
    """The front end has the socket take descriptors again."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        async with backend.connected() as front_end:
            await front_end.negotiate()
            ours, theirs = await share_requests(front_end)
            take_everything(theirs)
            descriptor = make(lingering)
            socket.send_fds(ours, [b"x"], [descriptor])
            os.close(descriptor)
            with ours, theirs:
                front_end.post(Request.GET_FEATURES)
                await front_end.answer()
        assert await backend.works()
        assert time.monotonic() - start < SOON


async def test_an_answer_with_descriptors(in_band: Backend) -> None:
    """They are closed, and nobody waits; what the kernel adds is closed as well."""
    before = await open_descriptors(in_band)
    start = time.monotonic()
    with lingering_sockets() as lingering:
        async with called(in_band) as (_, requests, shared):
            take_everything(shared)
            descriptors = [*(lingering.make() for _ in range(3)), *(250 * [shared.fileno()])]
            requests.send(BackendRequest.VRING_CALL, vu.REPLY, READ, descriptors)
            for descriptor in descriptors[:3]:
                os.close(descriptor)
        assert await in_band.works()
        assert time.monotonic() - start < SOON
    await wait_closed(in_band, before)


async def test_a_socket_that_blocks_and_is_full(backend: Backend) -> None:
    """A changed configuration is told later, and nobody waits."""
    start = time.monotonic()
    async with backend.driven() as (front_end, _):
        ours, theirs = await share_requests(front_end)
        theirs.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                theirs.send(bytes(1 << 16))
        with suppress(BlockingIOError):
            while True:
                theirs.send(b"x")
        theirs.settimeout(None)
        # Without the mend the test would wait for ever.
        limit = struct.pack("ll", LINGER_SECONDS, 0)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        backend.model.resize(2 * MIB, allow_shrink=False)
        backend.model.announce_change()
        front_end.post(Request.GET_FEATURES)
        await front_end.answer()
        assert time.monotonic() - start < SOON
        ours.close()
        theirs.close()
    assert await backend.works()


async def test_a_socket_that_somebody_else_reads(in_band: Backend, tmp_path: Path) -> None:
    """Into memory that does not come: every reader waits, in the kernel."""
    start = time.monotonic()
    with held_locks(tmp_path / "held") as held:

        def hold(ours: socket.socket, shared: socket.socket) -> None:
            ours.send(b"x")
            held.reading(shared)

        async with called(in_band, hold) as (front_end, *_):
            front_end.post(Request.GET_FEATURES)
            await front_end.answer()
        assert await in_band.works()
        assert time.monotonic() - start < SOON


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_socket_whose_lock_is_held(backend: Backend, tmp_path: Path, name: str) -> None:
    """Of TCP: whoever asks it for its name or sets an option waits."""
    request, payload = MESSAGES[name]
    start = time.monotonic()
    with held_locks(tmp_path / "held") as held:
        descriptor = held.writing()
        async with backend.connected() as front_end:
            await front_end.negotiate()
            front_end.post(request, payload, [descriptor])
            assert await front_end.lost()
        assert await backend.works()
        assert time.monotonic() - start < SOON
    os.close(descriptor)


async def test_an_answer_to_no_request_ends_the_connection(
    in_band: Backend, reasons: Reasons
) -> None:
    """Requests of the device are answered once, and only those that want it."""
    async with called(in_band) as (front_end, requests, _):
        requests.send(BackendRequest.VRING_ERR, vu.REPLY, READ, [])
        assert await front_end.lost()
    assert "a request 5 that was not made" in reasons()
    assert await in_band.works()


async def test_bytes_that_nobody_awaits(backend: Backend) -> None:
    """They fill the front end's own buffer, and cost nobody else anything."""
    async with backend.driven() as (front_end, _):
        ours, theirs = await share_requests(front_end)
        with ours, theirs:
            ours.settimeout(0)
            with suppress(BlockingIOError):
                while True:
                    ours.send(bytes(1 << 16))
            for _ in range(3):
                await asyncio.sleep(0)
            front_end.post(Request.GET_FEATURES)
            await front_end.answer()
    assert await backend.works()
