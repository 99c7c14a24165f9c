"""TLS around protocols that have none, by what docs/security.md says of socat and stunnel."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.cli import eventually
from tests.support.ports import free_port
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

pytestmark = pytest.mark.processes

PAGE = (ROOT / "docs" / "security.md").read_text()
LINES = re.compile(r"^(machine|client)\$ ((socat|stunnel) .*)$", re.MULTILINE)
FILES = re.compile(r"`(machine|client)\.conf`:\n\n```ini\n(.*?)```", re.DOTALL)
PACKAGES = {"socat": "socat", "stunnel": "stunnel4"}
GREETING = b"RFB 003.008\n"


@pytest.fixture(params=PACKAGES)
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Start both ends; return the port on the viewer's side, and that of the machine."""
    program = request.param
    if shutil.which(program) is None:
        pytest.skip(f"needs the Debian package {PACKAGES[program]}")
    with Authority.create(tmp_path / "security") as authority:
        (tmp_path / "alice.pem").write_text(authority.issue("alice", Role.OPERATOR)[1].spell())
        (tmp_path / "alice.pem").chmod(0o600)
    near = str(free_port())
    with ExitStack() as undo:
        server = undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        ports = {"5900": str(server.getsockname()[1]), "5901": str(free_port())}
        greeting = threading.Thread(target=greet, args=(server,))
        greeting.start()
        undo.callback(greeting.join)
        undo.callback(server.shutdown, socket.SHUT_RDWR)
        contents = dict(FILES.findall(PAGE))
        for where, line in ((one[0], one[1]) for one in LINES.findall(PAGE) if one[2] == program):
            names = {**ports, "machine.example": "localhost"}
            if where == "client":
                names["TCP-LISTEN:5900"] = f"TCP-LISTEN:{near}"
                names["accept = 127.0.0.1:5900"] = f"accept = 127.0.0.1:{near}"
            pattern = "|".join(sorted(names, key=len, reverse=True))
            place = partial(re.sub, pattern, partial(name_of, names))
            (tmp_path / f"{where}.conf").write_text(place(contents[where]))
            process = subprocess.Popen(place(line).split(), cwd=tmp_path, stderr=subprocess.PIPE)
            undo.enter_context(process)
            undo.callback(process.terminate)
            listening = int(ports["5901"] if where == "machine" else near)
            eventually(partial(listens, listening))
        yield int(near), int(ports["5901"])


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


def test_a_viewer_with_a_bundle_reaches_the_server(ends: tuple[int, int]) -> None:
    """Through both ends."""
    assert received(ends[0]) == GREETING


def test_nobody_else_does(ends: tuple[int, int], tmp_path: Path) -> None:
    """With a certificate of another machine, or with none."""
    with Authority.create(tmp_path / "other") as authority:
        stranger = tmp_path / "stranger.pem"
        stranger.write_text(authority.issue("alice", Role.OPERATOR)[1].spell())

    assert greeting_over_tls(ends[1], tmp_path, tmp_path / "alice.pem") == GREETING
    for shown in (stranger, None):
        assert greeting_over_tls(ends[1], tmp_path, shown) == b""


def greeting_over_tls(port: int, folder: Path, shown: Path | None) -> bytes:
    """Return what comes first over TLS, with a certificate or without; nothing if it ends."""
    context = ssl.create_default_context(cafile=str(folder / "security" / "ca.pem"))
    if shown is not None:
        context.load_cert_chain(shown)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="localhost") as secured:
                return secured.recv(64)
        except OSError:
            return b""
