"""A listening unix socket at a path of its own, which no other service's socket is taken for."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.rpc.server import SOCKET_UMASK, clear_stale_socket
from virtmesh_common.channel import UNIX_PATH_LIMIT
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from pathlib import Path


class UnixListener:
    """Listens from the start, without blocking. `option` names the path on the command line.

    Errors: AddressTaken.
    """

    def __init__(self, path: Path, kind: int = socket.SOCK_STREAM, *, option: str) -> None:
        if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
            raise AddressTaken(
                f"{path}: longer than {UNIX_PATH_LIMIT} bytes: choose a shorter {option}"
            )
        clear_stale_socket(path, kind)
        self.socket = socket.socket(socket.AF_UNIX, kind)
        before = os.umask(SOCKET_UMASK)
        try:
            self.socket.bind(str(path))
        except OSError as error:
            self.socket.close()
            raise AddressTaken(f"{path}: {os.strerror(error.errno or 0)}") from error
        finally:
            os.umask(before)
        self.socket.setblocking(False)  # noqa: FBT003 - as socket has it
        self.socket.listen()
        self._path = path
        self._inode = path.stat().st_ino

    def remove(self) -> None:
        """Remove the socket's path; call it before `close`.

        Another service may have put its socket there; while this one is open, its inode number is
        nobody else's.
        """
        with suppress(FileNotFoundError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()

    def close(self) -> None:
        """Listen no more."""
        self.socket.close()
