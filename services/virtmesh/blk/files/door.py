"""The sockets at which clients hand files over (virtmesh.kernel.v1, file_handover.proto).

Whoever can open a socket of the kernel service can open the one of its files, which has the same
mode. A ticket gives no rights: the call that names it is judged by its caller's role.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from google.protobuf.message import DecodeError

from virtmesh.attach.door import PENDING_SECONDS, Door, Visitor
from virtmesh_common.api.kernel.v1 import file_handover_pb2 as pb
from virtmesh_common.blk.errors import FileNotTaken
from virtmesh_common.blk.file_socket import FILES, file_socket
from virtmesh_common.channel import UNIX_PATH_LIMIT
from virtmesh_common.errors import AddressTaken, BadStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_common.errors import VirtmeshError

log = structlog.get_logger(__name__)

VERSION = 1
"""Of the protocol."""
DESCRIPTORS = 1
"""Descriptors of a request."""


class FileVisitor(Visitor):
    """A connection by which one file came."""

    def take(self, data: bytes, flags: int, count: int) -> None:
        """Check a request, and make its ticket. Errors: BadStream; FileNotTaken."""
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or count != DESCRIPTORS:
            raise FileNotTaken(f"a handover of a file has one descriptor, and {count} came")
        try:
            version = pb.FileHandoverRequest.FromString(data).version
        except DecodeError as error:
            raise BadStream("the packet does not parse as a FileHandoverRequest") from error
        if version != VERSION:
            raise FileNotTaken(f"version {version} of the handover of files is not known")
        self.make_ticket()

    def give(self) -> int:
        """Give the descriptor to the caller, who has to close it."""
        (descriptor,) = self._descriptors
        self._descriptors = ()
        return descriptor


class FileDoor(Door[FileVisitor]):
    """One such socket."""

    visitors = "files"
    crowded = FileNotTaken

    def __init__(self, path: Path, pending_seconds: float = PENDING_SECONDS) -> None:
        super().__init__(path, option="--listen", peers=None, pending_seconds=pending_seconds)

    def make_visitor(self, connection: socket.socket) -> FileVisitor:
        """Make the record of a connection."""
        return FileVisitor(connection)

    def take(self, visitor: FileVisitor, data: bytes, flags: int, count: int) -> bytes:
        """Take a file; return the answer. Errors: BadStream; FileNotTaken."""
        visitor.take(data, flags, count)
        return pb.FileHandoverResponse(ticket=visitor.ticket).SerializeToString()

    def spell_refusal(self, error: VirtmeshError) -> bytes:
        """Return the answer that tells of an error."""
        return pb.FileHandoverResponse(
            error_reason=error.reason, error_message=error.message
        ).SerializeToString()

    def missing(self) -> FileNotTaken:
        """Return the error for a ticket that nothing was handed over for."""
        return FileNotTaken(
            "no file was handed over for this ticket, or its connection is closed: hand it over at"
            f" the kernel's socket with {FILES} behind its path"
        )


class FileDoors:
    """The sockets of one kernel service: one beside each unix socket that it listens at."""

    def __init__(self) -> None:
        self._doors: list[FileDoor] = []

    def listen(self, addresses: Iterable[str]) -> None:
        """Listen beside each unix address. Where that is not possible, the log says why."""
        for address in addresses:
            path = file_socket(address)
            if path is None:
                continue
            if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
                log.info("no files are taken: the path is too long", path=str(path))
                continue
            door = FileDoor(Path(path))
            try:
                door.listen()
            except AddressTaken as error:
                log.warning("no files are taken", error=error.message)
            else:
                self._doors.append(door)

    def claim(self, ticket: str) -> int:
        """Return the descriptor of a ticket; the caller has to close it. Errors: FileNotTaken."""
        for door in self._doors:
            with suppress(FileNotTaken):
                visitor = door.find(ticket)
                descriptor = visitor.give()
                door.drop(visitor)
                return descriptor
        if self._doors:
            raise self._doors[0].missing()
        raise FileNotTaken("this service takes no files: it has no unix socket")

    def close(self) -> None:
        """Stop listening, and close what waits."""
        for door in self._doors:
            door.close()
        self._doors.clear()
