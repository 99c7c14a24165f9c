"""Connections that ask for nothing: they don't keep their places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from virtmesh_client.panel.options import PanelOptions
from virtmesh_client.panel.server import serving
from virtmesh_client.testing import FakeKernel

TOKEN = "the-token-of-this-panel"  # noqa: S105 - of this test
PROTOCOLS = ("virtmesh", f"token.{TOKEN}")
CONNECTIONS = 256
SOON = 0.5
LIMIT_SECONDS = 60.0
"""Limit for every wait."""
FILE = b"GET /static/vendor/novnc.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@asynccontextmanager
async def panel(idle_seconds: float) -> AsyncIterator[int]:
    """Serve a panel of a machine with one disk. Yields its port."""
    options = PanelOptions(port=0, token=TOKEN, idle_seconds=idle_seconds)
    with FakeKernel(vda=1 << 20) as kernel:
        async with serving(kernel.address, options) as (_, port):
            yield port


@asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def rest(reader: asyncio.StreamReader) -> int:
    """Return how many bytes come until the panel closes the connection."""
    count = 0
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while data := await reader.read(1 << 16):
                count += len(data)
    except ConnectionError:
        pass
    return count


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: 127"])
async def test_a_request_that_does_not_come_is_not_waited_for(head: bytes) -> None:
    """Nothing, or half of it."""
    async with panel(SOON) as port, connected(port) as (reader, writer):
        writer.write(head)
        assert await rest(reader) == 0


async def test_bytes_now_and_then_are_no_request() -> None:
    """However long a connection sends a little more."""
    async with panel(SOON) as port, connected(port) as (reader, writer):
        closed = asyncio.create_task(rest(reader))
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        while not closed.done():
            writer.write(b"1")
            await asyncio.wait([closed], timeout=SOON / 10)
        assert closed.result() == 0


async def test_an_answer_that_is_not_taken_is_not_waited_for() -> None:
    """Another one, which came later and was idle, is closed after it; what was asked is lost."""
    async with panel(SOON) as port, connected(port) as (reader, writer):
        writer.write(FILE * 100)
        async with connected(port) as (other, _):
            await rest(other)
        async with connected(port) as (other, _):
            await rest(other)
        got = await rest(reader)
    async with panel(LIMIT_SECONDS) as patient:
        assert got < 100 * await size_of_file(patient)


async def size_of_file(port: int) -> int:
    """Return how large the file is that is asked for."""
    url = f"http://127.0.0.1:{port}/static/vendor/novnc.js"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return len(await answer.read())


async def test_a_page_stays() -> None:
    """Its socket is in use, however long; a connection that did nothing meanwhile is closed."""
    async with panel(SOON) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/live"
        async with session.ws_connect(url, protocols=PROTOCOLS) as socket:
            for _ in range(3):
                async with connected(port) as (reader, _):
                    await rest(reader)
            await socket.send_str('{"wants": ["registers:vda"]}')
            while (await socket.receive_json(timeout=LIMIT_SECONDS))["topic"] != "registers:vda":
                pass


async def test_the_oldest_idle_connection_makes_room() -> None:
    """However many there are: others get their answers, and a page that is open stays."""
    async with panel(LIMIT_SECONDS * 10) as port, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}"
        async with session.ws_connect(f"{url}/live", protocols=PROTOCOLS) as socket:
            async with AsyncExitStack() as stack:
                held = [
                    await stack.enter_async_context(connected(port)) for _ in range(CONNECTIONS)
                ]
                async with session.get(f"{url}/static/main.js") as answer:
                    assert answer.status == 200
                assert await rest(held[0][0]) == 0
                assert not held[-1][0].at_eof()
            await socket.send_str('{"wants": ["registers:vda"]}')
            while (await socket.receive_json(timeout=LIMIT_SECONDS))["topic"] != "registers:vda":
                pass
