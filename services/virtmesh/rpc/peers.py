"""Which processes may use a unix socket that has no roles: by user and groups of the peer.

The kernel says who connected (SO_PEERCRED, SO_PEERGROUPS; unix(7)), in the numbers of our user
namespace. A user that has no number there is shown as the overflow user (65534), whoever it is:
such a number is believed only where every user has a number.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.security.errors import PeerRefused

if TYPE_CHECKING:
    from virtmesh_common.errors import VirtmeshError

SO_PEERGROUPS = 59
GROUPS_MAX = 256
"""Most supplementary groups that are looked at: Python's getsockopt takes 1024 bytes. Of a process
that has more, none counts."""
UCRED = struct.Struct("3i")
NO_ID = 0xFFFFFFFF
"""Means no user."""
ROOT = 0


@dataclass(frozen=True)
class Peers:
    """Users and groups whose processes may connect, beside our own user and root."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()

    def check(self, connection: socket.socket) -> None:
        """Refuse a stranger. Errors: PeerRefused; OSError."""
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        pid, *signed = UCRED.unpack(credentials)
        uid, gid = (one & NO_ID for one in signed)
        if self._knows_user(uid) or (self.gids and self._knows_group({gid, *groups(connection)})):
            return
        raise PeerRefused(
            f"process {pid} of user {uid} and group {gid} may not use this socket: run it as user"
            f" {os.geteuid()}, or start the service with --peer-uid {uid} or --peer-gid {gid}",
            uid=str(uid),
            gid=str(gid),
        )

    def refusal(self, connection: socket.socket) -> VirtmeshError | None:
        """Return why a peer is refused; None: it is not."""
        try:
            self.check(connection)
        except PeerRefused as error:
            return error
        except OSError as error:  # It has gone, or the socket is none of ours.
            return PeerRefused(f"who connects is not known: {os.strerror(error.errno or 0)}")
        return None

    def _knows_user(self, uid: int) -> bool:
        """Say whether processes of a user may connect."""
        return uid in {os.geteuid(), ROOT, *self.uids} and is_real(uid, "uid")

    def _knows_group(self, gids: set[int]) -> bool:
        """Say whether one of the groups may connect."""
        return any(is_real(gid, "gid") for gid in gids & self.gids)


OWN_USER = Peers()
"""Our own user, and root."""


def groups(connection: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups of the peer; none from a kernel that does not tell."""
    with suppress(OSError):
        data = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_MAX * 4)
        return tuple(one & NO_ID for one in struct.unpack(f"{len(data) // 4}i", data))
    return ()


def is_real(number: int, kind: str) -> bool:
    """Say whether a number ("uid" or "gid") is surely that of one user, or group."""
    if number == NO_ID:
        return False
    if number != read_number(Path(f"/proc/sys/kernel/overflow{kind}")):
        return True
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return [line.split() for line in lines if line] == [["0", "0", str(NO_ID)]]


def read_number(path: Path) -> int:
    """Return the number in a file of /proc; 65534, as Linux has it, when that can't be read."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 65534
