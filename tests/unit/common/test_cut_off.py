"""Ending connections at once."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from tests.support.secured import People
from virtmesh_common.cut_off import cut_off
from virtmesh_common.security.contexts import server_context
from virtmesh_common.security.server_files import CA


async def test_a_connection_of_tls_that_was_closed_already(tmp_path: Path) -> None:
    """However often it was: the distribution's Python forgets the connection at the second time."""
    people = People(tmp_path)
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put(writer)

    context = server_context(people.folder, demand_certificate=False)
    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusted = ssl.create_default_context(cafile=str(people.folder / CA))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted)
    served = await accepted.get()
    for _ in range(2):
        served.close()
    cut_off(served.transport)
    assert await reader.read() == b""
    cut_off(writer.transport)
    server.close()


async def test_a_connection_that_nobody_closed() -> None:
    """What waits to be sent is lost."""
    lost = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(64 << 20))
        cut_off(writer.transport)
        await reader.read()
        lost.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await lost.wait()
    cut_off(writer.transport)
    server.close()
