"""The sockets of our own protocols, and processes of other users."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.cli import eventually

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

STRANGER, GROUP = 12345, 23456
SECONDS = 30
ATTACH = """
import os, socket, sys
from virtmesh_common.api.memory.v1 import handover_pb2 as pb
os.setgroups([int(one) for one in sys.argv[2:]])
os.setgid(12345)
os.setuid(12345)
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.settimeout(20)
connection.connect(sys.argv[1])
connection.send(pb.HandoverRequest(line_index=0).SerializeToString())
print(pb.HandoverResponse.FromString(connection.recv(65536)).error_reason)
"""
FRONT_END = """
import os, socket, struct, sys
os.setgroups([int(one) for one in sys.argv[2:]])
os.setgid(12345)
os.setuid(12345)
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
connection.connect(sys.argv[1])
try:
    connection.sendall(struct.pack("<III", 1, 1, 0))  # VHOST_USER_GET_FEATURES, version 1
    print("answered" if connection.recv(100) else "closed")
except ConnectionError:
    print("closed")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that other users reach."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    with TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        if not all(parent.stat().st_mode & 0o001 for parent in folder.parents):
            pytest.skip("other users do not reach the folder for temporary files")
        folder.chmod(0o755)
        yield folder


@contextmanager
def keyboard(folder: Path, *options: str) -> Iterator[None]:
    """Start a keyboard whose sockets every user may open."""
    command = [sys.executable, "-m", "virtmesh.host.main", "input", "--name=k"]
    command += ["--personality=keyboard", "--listen=unix:k.sock", "--vhost-user=v.sock", *options]
    log = folder / "log"
    with log.open("wb") as file, subprocess.Popen(command, cwd=folder, stderr=file) as process:
        try:
            eventually(lambda: process.poll() is not None or b"serving" in log.read_bytes())
            for name in ("k.sock.handover", "v.sock"):
                (folder / name).chmod(0o666)
            yield
        finally:
            process.terminate()


def told(program: str, socket: Path, *groups: int) -> str:
    """Return what a process of another user hears at a socket."""
    arguments = [sys.executable, "-c", program, str(socket), *map(str, groups)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout.strip()


def test_another_user_neither_attaches_nor_is_a_front_end(folder: Path) -> None:
    """Although it may open the sockets; a driver is told, a front end can't be."""
    with keyboard(folder):
        assert told(ATTACH, folder / "k.sock.handover") == "PEER_REFUSED"
        assert told(FRONT_END, folder / "v.sock") == "closed"
        assert f"of user {STRANGER} and group {STRANGER} may not" in (folder / "log").read_text()


@pytest.mark.parametrize("option", [f"--peer-uid={STRANGER}", f"--peer-gid={GROUP}"])
def test_who_was_named_is_let_in(folder: Path, option: str) -> None:
    """By its user, or by a group that containers share. Its request is looked at, then."""
    with keyboard(folder, option):
        assert told(ATTACH, folder / "k.sock.handover", GROUP) == "MEMORY_MISSING"
        assert told(FRONT_END, folder / "v.sock", GROUP) == "answered"
