"""TLS around protocols that have none, by the two lines of socat in docs/security.md."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.cli import eventually
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("socat") is None, reason="needs the Debian package socat"),
]

LINES = re.compile(r"^(machine|client)\$ (socat .*)$", re.MULTILINE)
GREETING = b"RFB 003.008\n"


def free_port() -> int:
    """Return a port that is free just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[int]:
    """Start both ends; return the port on the viewer's side, with alice's bundle beside it."""
    with Authority.create(tmp_path / "security") as authority:
        (tmp_path / "alice.pem").write_text(authority.issue("alice", Role.OPERATOR)[1].spell())
    ports = {"5900": str(free_port()), "5901": str(free_port())}
    near = str(free_port())
    with ExitStack() as undo:
        server = undo.enter_context(socket.create_server(("127.0.0.1", int(ports["5900"]))))
        greeting = threading.Thread(target=greet, args=(server,))
        greeting.start()
        undo.callback(greeting.join)
        undo.callback(server.shutdown, socket.SHUT_RDWR)
        for where, line in LINES.findall((ROOT / "docs" / "security.md").read_text()):
            names = {**ports, "machine.example": "localhost"}
            if where == "client":
                names["TCP-LISTEN:5900"] = f"TCP-LISTEN:{near}"
            pattern = "|".join(sorted(names, key=len, reverse=True))
            placed = re.sub(pattern, partial(name_of, names), line)
            process = subprocess.Popen(placed.split(), cwd=tmp_path, stderr=subprocess.PIPE)
            undo.enter_context(process)
            undo.callback(process.terminate)
            listening = int(ports["5901"] if where == "machine" else near)
            eventually(partial(listens, listening))
        yield int(near)


def greet(server: socket.socket) -> None:
    """Greet each connection, as a VNC server does, until the socket is shut down."""
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(GREETING)


def name_of(names: dict[str, str], found: re.Match[str]) -> str:
    """Return what stands for a name of the page."""
    return names[found[0]]


def received(port: int) -> bytes:
    """Return what comes first on a connection; nothing if it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            return connection.recv(64)
        except ConnectionError:
            return b""


def listens(port: int) -> bool:
    """Say whether somebody listens, without connecting."""
    table = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return f":{port:04X} 0" in table


def test_a_viewer_with_a_bundle_reaches_the_server(viewer: int) -> None:
    """Through both ends."""
    assert received(viewer) == GREETING


def test_nobody_else_does(viewer: int, tmp_path: Path) -> None:
    """A certificate of another machine, and none."""
    with Authority.create(tmp_path / "other") as authority:
        stranger = authority.issue("alice", Role.OPERATOR)[1]
    ours = (tmp_path / "security" / "ca.pem").read_text()
    (tmp_path / "alice.pem").write_text(stranger.key + stranger.certificate + ours)

    assert received(viewer) == b""
