"""Sockets whose other end a stranger has, and the descriptors that it may send.

A close can wait for as long as whoever made the descriptor likes: a TCP socket that lingers, a file
of FUSE, a unix socket with such a descriptor in its queue. So descriptors that came, and sockets
by which some may have come, are closed by native threads that nobody waits for
(virtmesh_native.close_later). There has to be room for every descriptor that a packet can have:
what finds no room the kernel closes, on the thread that reads.

A socket that takes no descriptors says so (SO_PASSRIGHTS, Linux 6.16); the kernel then refuses them
to who sends them. An older kernel takes them, and whoever reads such a socket closes them
(`receive`).

A socket that a stranger sent has its flags, its options and its queue in common with the stranger's
duplicates: the stranger sets them again at any time, and holds the locks of the kernel for as long
as its own memory does not come. So no flag or option of it is set or trusted, nothing but its kind
is asked, and only a thread that nobody waits for reads it.
"""

from __future__ import annotations

import array
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_native import close_later, is_unix_stream, unclosed

from virtmesh.rpc.peers import NO_ID, UCRED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SCM_MAX_FD = 253
"""Most descriptors of a packet (unix(7))."""
SCM_PIDFD = 4
"""Control data with a pidfd of the sender (SO_PASSPIDFD): a descriptor of this process as well."""
OTHER_CONTROL_BYTES = 512
"""Room for what else a stranger can have the kernel add to a packet of a shared socket."""
UNCLOSED_LIMIT = 512
"""Most descriptors that wait to be closed while more are taken."""
SO_PASSRIGHTS = 83
"""Whether a unix socket takes descriptors (Linux 6.16)."""


@dataclass(frozen=True)
class Peer:
    """Who made the other end of a connection. 0, or the user of nobody, from another namespace."""

    user: int
    process: int


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected. Errors: OSError."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    process, user, _ = UCRED.unpack(found)
    return Peer(user & NO_ID, process)


def who_leaves(waiting: Sequence[Peer]) -> int:
    """Return the index of the connection that makes room for others, of those that wait.

    `waiting` are in the order in which they came. It is the oldest of that process that has most
    of them, of the user that has most: nobody is pushed out by another who has more.
    """
    users = [peer.user for peer in waiting]
    most = max(users.count(user) for user in users)
    crowd = [peer for peer in waiting if users.count(peer.user) == most]
    largest = max(crowd.count(peer) for peer in crowd)
    return waiting.index(next(peer for peer in crowd if crowd.count(peer) == largest))


def has_room() -> bool:
    """Say whether descriptors of strangers may be taken: few wait to be closed."""
    return unclosed() < UNCLOSED_LIMIT


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors of a stranger, without waiting for it. They must be open."""
    for descriptor in descriptors:
        close_later(descriptor)


def receive(connection: socket.socket, limit: int) -> tuple[bytes, int]:
    """Read at most `limit` bytes, or a packet, without waiting. Return it, and recvmsg's flags.

    Descriptors that came are closed, without waiting for who sent them. Errors: BlockingIOError if
    there is nothing; ConnectionAbortedError if some came, and too many wait to be closed; OSError.
    """
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(SCM_MAX_FD * descriptors.itemsize) + OTHER_CONTROL_BYTES
    data, control, flags, _ = connection.recvmsg(
        limit, room, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind in {socket.SCM_RIGHTS, SCM_PIDFD}:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    close_all(descriptors)
    if descriptors and not has_room():
        raise ConnectionAbortedError("it sent descriptors, and too many wait to be closed")
    return data, flags


def hang_up(connection: socket.socket) -> None:
    """Close a socket whose other end a stranger has. Packets may wait there, with descriptors."""
    if connection.fileno() < 0:
        return
    with suppress(OSError):  # The other end may have gone.
        connection.shutdown(socket.SHUT_RDWR)
    close_later(connection.detach())


def take_no_descriptors(connection: socket.socket) -> bool:
    """Have the kernel refuse descriptors that are sent to a unix socket, or to those it accepts.

    False where the kernel can't.
    """
    try:
        connection.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def take_no_descriptors_at(path: Path) -> bool:
    """Do so for a socket of this process that listens at a path, whoever made it.

    False where the kernel can't, or if there is none.
    """
    done = False
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # It may be closed meanwhile.
            if not is_unix_stream(int(entry.name)):
                continue  # To ask anything else of it could wait for a stranger.
            found = socket.socket(fileno=os.dup(int(entry.name)))
            with found:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and found.getsockname() == str(path):
                    done = take_no_descriptors(found) or done
    return done
