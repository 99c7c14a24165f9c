"""Whose processes may use our own sockets, with real processes of other users."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from virtmesh.rpc.peers import OWN_USER, Peers
from virtmesh_common.security.errors import PeerRefused

STRANGER, GROUP, OTHER_GROUP = 12345, 23456, 34567
CONNECT = """
import os, socket, sys
groups, gid, uid, path = sys.argv[1:]
os.setgroups([int(one) for one in groups.split(",") if one])
os.setgid(int(gid))
os.setuid(int(uid))
socket.socket(socket.AF_UNIX).connect(path)
"""


def judge(who: Peers, folder: Path, *, uid: int, gid: int, groups: str = "") -> str:
    """Let a process of a user and its groups connect; return why it is refused, or nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    folder.chmod(0o755)
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            pytest.skip(f"other users do not reach {parent}")
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        command = [sys.executable, "-c", CONNECT, groups, str(gid), str(uid), str(path)]
        subprocess.run(command, check=True, timeout=60)
        connection, _ = listener.accept()
        with connection:
            refusal = who.refusal(connection)
    path.unlink()
    return "" if refusal is None else refusal.message


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that other users reach."""
    with TemporaryDirectory(prefix="vm-") as folder:
        yield Path(folder)


def test_our_own_user_is_let_in() -> None:
    """Whatever its groups."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert OWN_USER.refusal(ours) is None


def test_another_user_is_refused(folder: Path) -> None:
    """The message says who it was, and what to do."""
    why = judge(OWN_USER, folder, uid=STRANGER, gid=GROUP)

    assert f"of user {STRANGER} and group {GROUP} may not use this socket" in why
    assert f"--peer-uid {STRANGER} or --peer-gid {GROUP}" in why


@pytest.mark.parametrize(
    ("who", "groups"),
    [
        (Peers(uids=frozenset({STRANGER})), ""),
        (Peers(gids=frozenset({GROUP})), ""),
        (Peers(gids=frozenset({OTHER_GROUP})), str(OTHER_GROUP)),
    ],
    ids=["user", "group", "supplementary group"],
)
def test_users_and_groups_are_let_in(folder: Path, who: Peers, groups: str) -> None:
    """Containers have a user each, and share a group."""
    assert judge(who, folder, uid=STRANGER, gid=GROUP, groups=groups) == ""


@pytest.mark.parametrize(
    "who", [Peers(uids=frozenset({STRANGER + 1})), Peers(gids=frozenset({OTHER_GROUP}))]
)
def test_others_stay_out(folder: Path, who: Peers) -> None:
    """Who is let in beside ours is who was named."""
    assert judge(who, folder, uid=STRANGER, gid=GROUP) != ""


def test_a_user_without_a_number_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a user namespace, everybody from outside is shown as one and the same user."""
    who = Peers(uids=frozenset({65534}), gids=frozenset({65534}))
    assert judge(who, folder, uid=65534, gid=65534) == ""  # here he is one of many

    original = Path.read_text

    def read_text(path: Path, *arguments: str, **options: str) -> str:
        """Show a map of some users only, as in a user namespace."""
        if path.name in {"uid_map", "gid_map"}:
            return "         0     100000      65536\n"
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert judge(who, folder, uid=65534, gid=65534) != ""


def test_what_is_no_unix_socket_is_refused() -> None:
    """It has no peer that the kernel knows."""
    with socket.socket(socket.AF_INET) as listener:
        refusal = OWN_USER.refusal(listener)

    assert isinstance(refusal, PeerRefused)
