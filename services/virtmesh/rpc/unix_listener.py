"""A listening unix socket that never removes the socket of another service."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.rpc.allowance import Allowance
from virtmesh.rpc.server import SOCKET_UMASK, clear_stale_socket
from virtmesh.rpc.strangers import hang_up
from virtmesh_common.channel import UNIX_PATH_LIMIT
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from pathlib import Path


ACCEPTED_PER_SECOND, ACCEPTED_AT_ONCE = 200.0, 16.0
"""How fast connections are accepted: those above it wait in the queue of the kernel. A flood of
them costs a tenth of a processor."""
ACCEPT_PAUSE_SECONDS = 1.0
"""Pause after a connection could not be accepted, most likely for want of descriptors."""


class UnixListener:
    """A non-blocking socket that listens from the start.

    `option` is the command-line option that sets the path, for messages.

    Errors: AddressTaken.
    """

    def __init__(self, path: Path, kind: int = socket.SOCK_STREAM, *, option: str) -> None:
        if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
            raise AddressTaken(
                f"{path} is longer than {UNIX_PATH_LIMIT} bytes: choose a shorter {option}"
            )
        clear_stale_socket(path, kind)
        self.socket = socket.socket(socket.AF_UNIX, kind)
        before = os.umask(SOCKET_UMASK)
        try:
            self.socket.bind(str(path))
        except OSError as error:
            self.socket.close()
            raise AddressTaken(f"{path}: can't listen: {os.strerror(error.errno or 0)}") from error
        finally:
            os.umask(before)
        self.socket.setblocking(False)  # noqa: FBT003 - as socket has it
        self.socket.listen(socket.SOMAXCONN)
        self._allowance = Allowance(ACCEPTED_AT_ONCE, ACCEPTED_PER_SECOND)
        self._path = path
        self._inode = path.stat().st_ino

    def rest_seconds(self) -> float:
        """Count a connection that was accepted; return how long not to accept the next one."""
        self._allowance.take()
        return self._allowance.wait_seconds()

    def remove(self) -> None:
        """Remove the path of this socket. Call it before `close`.

        Another service may have put its own socket there. While this one is open, no other file
        has its inode number.
        """
        with suppress(FileNotFoundError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()

    def close(self) -> None:
        """Stop listening. What waits there unaccepted may carry descriptors of strangers."""
        hang_up(self.socket)
