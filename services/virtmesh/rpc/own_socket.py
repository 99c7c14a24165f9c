"""A unix socket that gRPC listens at, and that only this service removes.

gRPC removes the file at the path of a socket before it listens, and again when it stops, whosever
that is by then. So it listens at another name beside the path, which is gone at once: the path is a
link that is made only where nothing is, and removed only while it is still this socket.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh_common.channel import UNIX_PATH_LIMIT
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from pathlib import Path

RANDOM_BYTES = 4
SHORTEST = 4
"""Fewest letters of a name that nobody else has."""


class OwnSocket:
    """The socket for a path. gRPC is to listen at `scratch`; then call `publish`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        room = UNIX_PATH_LIMIT - len(os.fsencode(path.parent)) - 1
        name = f".{secrets.token_hex(RANDOM_BYTES)}"[: max(room, 0)]
        self.scratch = path.with_name(name) if len(name) >= SHORTEST else path
        """Another name in the same folder. In a folder whose path leaves no room for one, the path
        itself: there gRPC removes whatever it finds."""
        self._inode: tuple[int, int] | None = None

    def publish(self) -> None:
        """Give it its path. Errors: AddressTaken if something is there, or no link can be made."""
        if self.scratch == self.path:
            return
        try:
            os.link(self.scratch, self.path, follow_symlinks=False)
            self._inode = self._found()
        except FileExistsError:
            raise AddressTaken(
                f"{self.path}: another service listens there since a moment ago: stop it or choose"
                " another path"
            ) from None
        except OSError as error:
            raise AddressTaken(f"{self.path}: can't listen: {error.strerror}") from error
        finally:
            with suppress(OSError):
                self.scratch.unlink()

    def remove(self) -> bool:
        """Remove the path; False if it is another's by now. Call it while the socket is open.

        While it is, no other file has its inode number.
        """
        if self._inode is None:
            return True
        with suppress(FileNotFoundError):
            if self._found() != self._inode:
                return False
            self.path.unlink()
        return True

    def _found(self) -> tuple[int, int]:
        """Return device and inode of what is at the path. Errors: OSError."""
        found = self.path.lstat()
        return found.st_dev, found.st_ino
