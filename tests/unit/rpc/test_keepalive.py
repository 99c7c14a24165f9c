"""Pings: a foreign client may send them as often as promised, and a silent peer is found out."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from virtmesh.rpc.server import Server
from virtmesh_common.channel import (
    KEEPALIVE_SECONDS,
    PING_INTERVAL_SECONDS,
    channel_options,
    server_options,
)

SHORT = 0.5
"""Seconds that stand for the interval of pings, so that a test takes no minutes."""
PINGS = 8
"""gRPC forgives two early pings, and ends the connection at the third."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1
"""Types and the flag of HTTP/2 frames (RFC 9113, 6)."""


@asynccontextmanager
async def serving(keepalive: float = SHORT) -> AsyncIterator[str]:
    """Serve health on a TCP port."""
    server = Server(["127.0.0.1:0"], keepalive=keepalive)
    await server.start([])
    try:
        yield server.addresses[0]
    finally:
        await server.stop(0)


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    """Return a frame of the connection (stream 0)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + bytes(4) + payload


class Pinger:
    """A client that speaks HTTP/2 and nothing of gRPC: it pings, and answers pings or not."""

    def __init__(self, address: str, *, answers: bool = True) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, b""))
        self.answered = 0
        self._answers = answers
        self._data = b""

    def ping(self) -> None:
        """Send one ping."""
        self.socket.sendall(frame(PING, 0, b"virtmesh"))

    def listen(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Take frames for a time; return False when the server has ended the connection."""
        deadline = time.monotonic() + seconds
        while not until() and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return True
            except ConnectionResetError:
                return False
            if not data or not self._take(data):
                return False
        return True

    def listen_for_answer(self, number: int) -> bool:
        """Take frames until that many pings are answered; False when the server has gone."""
        return self.listen(5, lambda: self.answered >= number)

    def _take(self, data: bytes) -> bool:
        """Take whole frames; return False for a GOAWAY."""
        self._data += data
        while len(self._data) >= 9:
            size = int.from_bytes(self._data[:3], "big")
            if len(self._data) < 9 + size:
                return True
            kind, flags, payload = self._data[3], self._data[4], self._data[9 : 9 + size]
            self._data = self._data[9 + size :]
            if kind == GOAWAY:
                return False
            if kind == PING and flags & ACK:
                self.answered += 1
            elif kind in {PING, SETTINGS} and not flags & ACK and self._answers:
                self.socket.sendall(frame(kind, ACK, payload if kind == PING else b""))
        return True


async def in_thread(work: Callable[[], object]) -> object:
    """Run what blocks beside the server."""
    return await asyncio.to_thread(work)


async def test_pings_without_a_call_are_permitted() -> None:
    """A client that only pings, as often as it may, is answered each time and stays connected."""

    def keep_pinging(address: str) -> tuple[bool, int]:
        client = Pinger(address)
        with closing(client.socket):
            alive = True
            for _ in range(PINGS):
                client.ping()
                wanted = client.answered + 1
                alive = alive and client.listen_for_answer(wanted)
                alive = alive and client.listen(SHORT)
            return alive, client.answered

    async with serving() as address:
        assert await in_thread(lambda: keep_pinging(address)) == (True, PINGS)


async def test_a_flood_of_pings_is_cut_off() -> None:
    """The server protects itself: pings without a pause end the connection."""

    def flood(address: str) -> bool:
        client = Pinger(address)
        with closing(client.socket):
            client.socket.sendall(frame(PING, 0, b"virtmesh") * PINGS)
            return client.listen(5)

    async with serving() as address:
        assert await in_thread(lambda: flood(address)) is False


async def test_a_silent_client_is_found_out() -> None:
    """A client that answers no ping has gone: its connection ends, and with it what it holds."""

    def stay_silent(address: str) -> bool:
        client = Pinger(address, answers=False)
        with closing(client.socket):
            return client.listen(10)

    async with serving() as address:
        assert await in_thread(lambda: stay_silent(address)) is False


async def test_a_quiet_stream_of_a_pinging_client_goes_on() -> None:
    """A foreign grpcio client with keepalive of its own reads a stream that says nothing."""
    options = (
        ("grpc.keepalive_time_ms", round(SHORT * 1000)),
        ("grpc.keepalive_timeout_ms", 2000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )

    async with serving() as address, grpc.aio.insecure_channel(address, options=options) as channel:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        await call.read()
        with pytest.raises(TimeoutError):
            await wait_for(call.read(), SHORT * PINGS)
        assert not call.done() or call.cancelled()


async def wait_for(work: object, seconds: float) -> None:
    """Wait for what is not to happen."""
    await asyncio.wait_for(work, seconds)  # type: ignore[arg-type]


def test_the_intervals_are_those_of_the_documentation() -> None:
    """Clients may ping each 10 s; half of it is early. Ours wait longer, and only over TCP."""
    server = dict(server_options(["127.0.0.1:1"]))
    client = dict(channel_options("127.0.0.1:1"))

    assert PING_INTERVAL_SECONDS == 10
    assert server["grpc.http2.min_ping_interval_without_data_ms"] == 5000
    assert server["grpc.keepalive_permit_without_calls"] == 1
    assert client["grpc.keepalive_time_ms"] == KEEPALIVE_SECONDS * 1000 >= 10_000
    assert client["grpc.keepalive_timeout_ms"] == 10_000
    assert "grpc.keepalive_permit_without_calls" not in client
    assert "grpc.keepalive_time_ms" not in dict(channel_options("unix:/a"))
    assert "grpc.keepalive_time_ms" not in dict(server_options(["unix:/a"]))
