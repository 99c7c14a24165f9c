"""Copies of files that are handed to a kernel service on this host: no byte travels through gRPC.

The service reads and writes the file itself (file_handover.proto), in the same requests to the disk
as those of the streams. Where it takes no file, which is nothing to tell anybody, the streams go on
from where this stopped: over TCP, with a service of an earlier version, with a pipe.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from google.protobuf.message import DecodeError

from virtmesh_client.blk.transfer import Hash, NoHash, account, check_count
from virtmesh_client.patience import Patience
from virtmesh_client.streams import ended_early
from virtmesh_common.api.kernel.v1 import block_device_pb2 as kernel_pb
from virtmesh_common.api.kernel.v1 import file_handover_pb2
from virtmesh_common.blk.errors import FileFailed, FileNotTaken
from virtmesh_common.blk.file_socket import file_socket
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.streams import Progress

LEAST_BYTES = 1 << 20
"""Less than this goes by a stream: it ends before a file could be handed over."""
DIGEST_BYTES = 256 << 10
"""How much is hashed at once: it stays in the cache of a core."""
VERSION = 1
"""Of the handover (file_handover.proto)."""
ANSWER_BYTES = 64 << 10
HANDOVER_SECONDS = 5.0
"""How long the service may take for a file, before a stream does it."""


@dataclass(frozen=True)
class Place:
    """Where a copy begins in a file of this host."""

    descriptor: int
    position: int
    name: str
    """Name of the file, for errors."""


@dataclass(frozen=True)
class Copy:
    """A copy between a range of a disk and a file of this host. Sizes and offsets are in bytes."""

    channel: KernelChannel
    device: str
    offset: int
    length: int
    place: Place
    progress: Progress
    retry_for: float | None
    retry_ms: int


class FileDigest:
    """The digest of what a file has, as far as its copy has come."""

    def __init__(self, copy: Copy, digest: Hash) -> None:
        self._hash = digest
        self.done = 0
        """Bytes that are in it."""
        self._copy = copy
        self._buffer = memoryview(bytearray(DIGEST_BYTES))

    def advance(self, done: int) -> None:
        """Take what comes before byte `done` of the copy. Errors: OSError."""
        if isinstance(self._hash, NoHash):
            return
        place = self._copy.place
        while self.done < done:
            room = self._buffer[: min(DIGEST_BYTES, done - self.done)]
            count = os.preadv(place.descriptor, [room], place.position + self.done)
            if not count:
                raise ended_early(done - self.done, place.name)
            self._hash.update(room[:count])
            self.done += count


def plain_file(source: BinaryIO) -> Place | None:
    """Return where a file stands whose bytes are those of its descriptor; None: they may differ.

    What was written to it and not flushed is flushed. Errors: OSError.
    """
    if type(source) not in {io.FileIO, io.BufferedReader, io.BufferedRandom}:
        return None
    raw = getattr(source, "raw", source)
    if type(raw) is not io.FileIO or not raw.readable():
        return None
    source.flush()
    if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return None
    return Place(raw.fileno(), source.tell(), str(source.name))


def behind(done: int, progress: Progress) -> Progress:
    """Return what is told of the progress behind what is done."""
    return lambda more: progress(done + more)


def import_file(copy: Copy, digest: Hash, method: Callable[..., Any]) -> int:
    """Copy a file to a disk; return how far it came when the service takes no file: 0 mostly.

    `digest` gets the bytes, and `method` is Import of a stub.
    Errors: those of the disk, with an account; OSError of the file.
    """
    return Copying(copy, digest, method, "written").run()


def export_file(copy: Copy, digest: Hash, method: Callable[..., Any]) -> int:
    """Copy a disk to a new file, that has no bytes from the copy's position on; as `import_file`.

    `method` is Export of a stub.
    """
    return Copying(copy, digest, method, "read").run()


class Copying:
    """A copy, for as many calls as it takes. `verb` is what is done to the disk's bytes."""

    def __init__(self, copy: Copy, digest: Hash, method: Callable[..., Any], verb: str) -> None:
        self._copy = copy
        self._hashed = FileDigest(copy, digest)
        self._method = method
        self._verb = verb
        self._done = 0
        self._patience = Patience(copy.channel, copy.retry_for)
        self._lost: VirtmeshError | None = None
        """The last loss of the kernel service, or of the disk."""

    def run(self) -> int:
        """Copy until the end, or until the service takes no file. Return how far it came."""
        copy = self._copy
        try:
            while LEAST_BYTES <= copy.length > self._done and self._goes_on():
                pass
            self._hashed.advance(self._done)
        except FileFailed as error:
            number = int(error.metadata.get("errno", errno.EIO))
            failed = OSError(number, error.message, copy.place.name)
            account(failed, self._verb, self._done, copy.length, copy.offset)
            raise failed from None
        except BaseException as error:
            account(error, self._verb, self._done, copy.length, copy.offset)
            raise
        return self._done

    def _goes_on(self) -> bool:
        """Copy as far as one call comes. False if the service takes no file."""
        begun = self._done
        try:
            return self._call()
        except FileNotTaken:
            return False
        except FileFailed:
            raise
        except VirtmeshError as error:
            said = int(error.metadata.get(f"{self._verb}_bytes", 0))
            self._done = max(self._done, begun + said)
            if self._done < self._copy.length:
                self._patience.bear(error)
                self._lost = error
            return True

    def _call(self) -> bool:
        """Hand the file over and copy. False if nobody takes files. Errors: as `import_file`."""
        copy, begun = self._copy, self._done
        if self._verb == "read":
            make_room(copy, begun)
        ticket = hand_over(copy)
        if ticket is None:
            if self._lost is None:
                return False
            self._patience.bear(self._lost)  # Its socket is away as it is itself.
            return True
        with closing(ticket.connection), copy.channel.errors():
            request = make_request(copy, self._verb, begun, ticket.text)
            call = self._method(request, metadata=copy.channel.metadata())
            with copy.channel.running(cast("Cancellable", call)):
                for response in cast("Iterable[Any]", copy.channel.messages(call)):
                    self._done = begun + getattr(response, f"{self._verb}_bytes")
                    self._patience.renew()
                    copy.progress(self._done)
                    self._hashed.advance(self._done)
        check_count("copied", self._done, copy.length)
        return True


def make_request(copy: Copy, verb: str, done: int, ticket: str) -> Any:
    """Return the request for the rest of a copy."""
    kind = kernel_pb.ImportRequest if verb == "written" else kernel_pb.ExportRequest
    return kind(
        device=copy.device,
        offset_bytes=copy.offset + done,
        length_bytes=copy.length - done,
        ticket=ticket,
        file_offset_bytes=copy.place.position + done,
        retry_for_ms=copy.retry_ms,
    )


def make_room(copy: Copy, done: int) -> None:
    """Let the file have zeroes behind what is done: blocks of zeroes are not written there."""
    os.ftruncate(copy.place.descriptor, copy.place.position + done)
    os.ftruncate(copy.place.descriptor, copy.place.position + copy.length)


@dataclass(frozen=True)
class Ticket:
    """A file that was handed over; the connection is to be closed when the call has ended."""

    text: str
    connection: socket.socket


def hand_over(copy: Copy) -> Ticket | None:
    """Hand a file over; None: nobody takes files there. Errors: FileNotTaken, if it is refused."""
    path = file_socket(copy.channel.address)
    if path is None:
        return None
    request = file_handover_pb2.FileHandoverRequest(version=VERSION)
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except (AttributeError, OSError):  # Systems that have no such sockets have no such services.
        return None
    try:
        connection.settimeout(HANDOVER_SECONDS)
        connection.connect(path)
        socket.send_fds(connection, [request.SerializeToString()], [copy.place.descriptor])
        answer = file_handover_pb2.FileHandoverResponse.FromString(connection.recv(ANSWER_BYTES))
        if answer.ticket:
            return Ticket(answer.ticket, connection)
    except (OSError, DecodeError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    connection.close()
    raise FileNotTaken(answer.error_message or f"{path}: no answer")
