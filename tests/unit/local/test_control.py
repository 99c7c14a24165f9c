"""The socket by which a supervisor is asked: what it takes, and from whom."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from virtmesh.kernel.supervisor import restart_process
from virtmesh.local import control
from virtmesh.local.control import CONNECTIONS_MAX, ControlSocket
from virtmesh.rpc import peers
from virtmesh_client.local import control as client
from virtmesh_common.errors import (
    BadRequest,
    DeviceNotFound,
    LimitReached,
    NoAnswer,
    NotSupervised,
    ServiceUnavailable,
    VirtmeshError,
)
from virtmesh_common.security.errors import PeerRefused
from virtmesh_common.supervision import (
    ANSWER_BYTES_MAX,
    CONTROL,
    REQUEST_BYTES_MAX,
    Restarted,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Supervisor:
    """Restarts what is called vda, when the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked: list[str] = []

    async def restart(self, name: str) -> Restarted:
        """Restart it. Errors: DeviceNotFound."""
        self.asked.append(name)
        await self.gate.wait()
        if name != "vda":
            raise DeviceNotFound(f"there is no {name!r}")
        return Restarted(name, 7, "it died")


@asynccontextmanager
async def serving(folder: Path, refused: set[int] | None = None) -> AsyncIterator[Supervisor]:
    """Serve a supervisor in the folder."""
    supervisor = Supervisor()
    async with ControlSocket(folder / CONTROL, supervisor.restart, lambda: refused or set()):
        yield supervisor


async def say(folder: Path, line: bytes) -> bytes:
    """Send bytes, and return all that comes back."""
    reader, writer = await asyncio.open_unix_connection(str(folder / CONTROL))
    writer.write(line)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_restart_is_answered_to_both_clients(tmp_path: Path) -> None:
    """The one that blocks, and the one of the kernel service. An error arrives as its class."""
    async with serving(tmp_path) as supervisor:
        done = Restarted("vda", 7, "it died")
        assert await restart_process(tmp_path / CONTROL, "vda") == done
        assert await asyncio.to_thread(client.restart_process, tmp_path, "vda") == done
        with pytest.raises(DeviceNotFound, match="there is no 'vdb'"):
            await restart_process(tmp_path / CONTROL, "vdb")
        with pytest.raises(DeviceNotFound, match="there is no 'vdb'"):
            await asyncio.to_thread(client.restart_process, tmp_path, "vdb")
        assert supervisor.asked == ["vda", "vda", "vdb", "vdb"]


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """By one that only its owner can open."""
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / CONTROL))
    async with serving(tmp_path):
        assert (tmp_path / CONTROL).lstat().st_mode & 0o777 == 0o600
        assert (await restart_process(tmp_path / CONTROL, "vda")).pid == 7


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"x" * 100,
        b"[" * REQUEST_BYTES_MAX,
        b'{"restart": "' + b"x" * REQUEST_BYTES_MAX + b'"}\n',
        b'{"restart": 1}\n',
        b'{"restart": "vda", "more": 1}\n',
        b'{"stop": "vda"}\n',
        b'["restart"]\n',
        b"\xff\n",
    ],
)
async def test_what_is_no_request_is_refused(tmp_path: Path, line: bytes) -> None:
    """With a line that says so, and nothing is restarted."""
    async with serving(tmp_path) as supervisor:
        with pytest.raises(BadRequest):
            decode_answer(await say(tmp_path, line))
        assert supervisor.asked == []


async def test_more_requests_than_a_few_are_refused_at_once(tmp_path: Path) -> None:
    """Those before them are answered."""
    async with serving(tmp_path) as supervisor:
        supervisor.gate.clear()
        path = tmp_path / CONTROL
        first = [asyncio.create_task(restart_process(path, "vda")) for _ in range(CONNECTIONS_MAX)]
        while len(supervisor.asked) < CONNECTIONS_MAX:  # noqa: ASYNC110 - they are on their way
            await asyncio.sleep(0)
        with pytest.raises(LimitReached):
            await restart_process(path, "vda")
        supervisor.gate.set()
        assert [one.pid for one in await asyncio.gather(*first)] == [7] * CONNECTIONS_MAX


async def test_a_peer_that_says_nothing_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time."""
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.01)
    async with serving(tmp_path):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / CONTROL))
        assert await reader.read() == b""
        writer.close()


async def test_devices_and_strangers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device by its process, a stranger by its user."""
    async with serving(tmp_path, refused={os.getpid()}) as supervisor:
        with pytest.raises(PeerRefused, match="service of a device"):
            await restart_process(tmp_path / CONTROL, "vda")
        assert supervisor.asked == []
    monkeypatch.setattr(peers, "ROOT", 4000)
    monkeypatch.setattr(os, "geteuid", lambda: 4000)
    async with serving(tmp_path) as supervisor:
        with pytest.raises(PeerRefused, match="may not use this socket"):
            await restart_process(tmp_path / CONTROL, "vda")
        assert supervisor.asked == []


async def test_where_nobody_supervises_the_error_says_what_to_do(tmp_path: Path) -> None:
    """No run folder, no socket, or one that nobody serves: as in a container."""
    remedy = "start the machine with `virtmesh up`, or restart the service with what started it"
    with pytest.raises(NotSupervised, match=remedy):
        await restart_process(None, "vda")
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / CONTROL))
    for folder in (tmp_path, tmp_path / "missing", tmp_path / ("x" * 120)):
        with pytest.raises(NotSupervised, match=remedy):
            await restart_process(folder / CONTROL, "vda")
        with pytest.raises(NotSupervised, match=remedy):
            client.restart_process(folder, "vda")


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}\n", b"[]\n", b"x" * (ANSWER_BYTES_MAX * 2), b'{"name": 1, "pid": 2, "held": ""}\n'],
)
async def test_an_answer_that_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    """However long it is."""

    async def answering(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(answering, str(tmp_path / CONTROL))
    errors = (ServiceUnavailable, NotSupervised)
    with pytest.raises(errors):
        await restart_process(tmp_path / CONTROL, "vda")
    with pytest.raises(errors):
        await asyncio.to_thread(client.restart_process, tmp_path, "vda")
    server.close()


async def test_a_supervisor_that_does_not_answer_is_not_waited_for_without_end(
    tmp_path: Path,
) -> None:
    """Here for a moment."""
    async with serving(tmp_path) as supervisor:
        supervisor.gate.clear()
        with pytest.raises(NoAnswer):
            await asyncio.to_thread(client.restart_process, tmp_path, "vda", 0.01)


def test_a_reason_that_is_not_known_arrives_as_an_error() -> None:
    """And what is said of it can't move a cursor. A name that is no name is not sent."""
    line = b'{"error": {"reason": "NEW", "message": "no\\u001b[2J"}}\n'
    with pytest.raises(VirtmeshError, match=r"no\?\[2J"):
        decode_answer(line)
    with pytest.raises(BadRequest):
        encode_request("x" * REQUEST_BYTES_MAX)
    assert decode_request(encode_request("vdä\n")) == "vdä\n"
    assert len(encode_answer(VirtmeshError("\x7f\u2028" * ANSWER_BYTES_MAX))) <= ANSWER_BYTES_MAX
