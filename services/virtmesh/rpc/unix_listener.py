"""A listening unix socket that never removes the socket of another service."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.rpc.server import SOCKET_UMASK, clear_stale_socket
from virtmesh.rpc.strangers import hang_up
from virtmesh_common.channel import UNIX_PATH_LIMIT
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from pathlib import Path


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
        self.socket.listen()
        self._path = path
        self._inode = path.stat().st_ino

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
