"""Streams of bytes to and from a disk: bounded memory, exact accounts when they fail.

Writes use gRPC's blocking streams. Its asyncio streams lose the service's error when a send is
under way as the service ends the call: measured, one time in four.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast

from virtmesh_client.patience import Patience
from virtmesh_client.streams import ignore
from virtmesh_common.api.kernel.v1 import block_device_pb2 as kernel_pb
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.streams import Progress
    from virtmesh_common.api.kernel.v1.block_device_pb2_grpc import BlockDeviceServiceStub

FIRST_BYTES, LEAST_BYTES = 64 << 10, 16 << 10
"""Size of the first piece that is sent, and of the smallest."""
SLOW_S = 0.25
"""A piece that took longer to send is followed by one of half its size: the service counts whole
pieces, and takes who sends none for long for somebody who has gone."""


class Hash(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest."""


class NoHash:
    """Hashes nothing."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take bytes, and forget them."""

    def hexdigest(self) -> str:
        """Return nothing."""
        return ""


def make_hash(wanted: bool = True) -> Hash:  # noqa: FBT001, FBT002 - what it is asked for
    """Return what hashes a copy, if somebody wants its digest."""
    return hashlib.sha256() if wanted else NoHash()


KEPT_BYTES_MAX = 64 << 20
"""Most bytes that are sent and kept until they are acknowledged: a kernel service has room for a
fraction of it."""


def account(error: BaseException, verb: str, done: int, total: int | None, offset: int) -> None:
    """Add to an error how far its copy came: as metadata for programs, as a note for people.

    An error that has a note keeps it: it comes from closer to the cause.
    """
    if getattr(error, "__notes__", None):
        return
    of = f" of {total}" if total is not None else ""
    note = f"{done}{of} bytes are {verb}, from offset {offset} on"
    if verb == "written":
        note += "; what follows them may be written in part"
    error.add_note(note)
    if isinstance(error, VirtmeshError):
        error.metadata |= {f"{verb}_bytes": str(done), "offset_bytes": str(offset)}
        if total is not None:
            error.metadata["length_bytes"] = str(total)


class Feed:
    """The data of one write, for as many streams as it takes. gRPC has threads that take from them.

    What is sent is kept until it is acknowledged, so that another stream can go on from there. Each
    piece is taken from the source once, whichever stream sends it.

    What goes wrong while the source is read is kept in `error`, and ends the call.
    """

    def __init__(
        self,
        header: kernel_pb.WriteHeader,
        parts: Iterator[bytes],
        total: int | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.header = header
        self.total = total
        self.call: Future[Cancellable] = Future()
        self.digest: Hash = hashlib.sha256()
        self.sent = 0
        """Bytes taken from the source."""
        self.error: Exception | None = None
        self._parts = parts
        self._clock = clock
        self._part, self._taken = b"", 0
        """The last part of the source, and how much of it is sent."""
        self._kept: deque[bytes] = deque()
        self._kept_from = 0
        """How many bytes come before those that are kept."""
        self._kept_bytes = 0
        self._source = threading.Lock()
        self._lock = threading.Lock()

    def acknowledge(self, written: int) -> None:
        """Forget what is written."""
        with self._lock:
            while self._kept and self._kept_from + len(self._kept[0]) <= written:
                self._forget()

    def can_resume(self, written: int) -> bool:
        """Say whether another stream can go on behind what is written."""
        with self._lock:
            return self._kept_from <= written

    def requests(self, written: int = 0) -> Iterator[kernel_pb.WriteRequest]:
        """Yield the header, then the data behind what is written already."""
        call: Future[Cancellable] = Future()
        self.call = call
        return self._requests(written, call)

    def _requests(
        self, written: int, call: Future[Cancellable]
    ) -> Iterator[kernel_pb.WriteRequest]:
        header = kernel_pb.WriteHeader()
        header.CopyFrom(self.header)
        header.offset_bytes += written
        yield kernel_pb.WriteRequest(header=header)
        size = FIRST_BYTES
        try:
            while piece := self._piece(written, size, call):
                written += len(piece)
                before = self._clock()
                yield kernel_pb.WriteRequest(data=piece)
                slow = self._clock() - before > SLOW_S
                size = max(LEAST_BYTES, size // 2) if slow else min(CHUNK_LIMIT_BYTES, size * 2)
        except Exception as error:  # noqa: BLE001 - it is raised where the copy was asked for
            self.error = error
            # Without this the service would take the short stream for a complete one.
            call.result().cancel()

    def _piece(self, begin: int, size: int, call: Future[Cancellable]) -> bytes:
        """Return a piece from byte `begin` on; none at the end, or for a stream that is over.

        Errors: those of the source.
        """
        with self._source:
            if call is not self.call:
                return b""
            if self.error is not None:
                raise self.error
            if begin < self.sent:
                return self._find(begin)
            while self._taken >= len(self._part):
                part = next(self._parts, None)
                if part is None:
                    return b""
                self._part, self._taken = part, 0
            piece = self._part[self._taken : self._taken + size]
            self._taken += len(piece)
            self.digest.update(piece)
            self._keep(piece)
            return piece

    def _find(self, begin: int) -> bytes:
        """Return what is kept from a byte on, up to the end of its piece."""
        with self._lock:
            start = self._kept_from
            for piece in self._kept:
                if start <= begin < start + len(piece):
                    return piece[begin - start :]
                start += len(piece)
        raise BlockIOError(f"byte {begin} of the copy is not kept any more")

    def _keep(self, piece: bytes) -> None:
        """Keep a piece. Of a service that acknowledges nothing, not more than KEPT_BYTES_MAX."""
        with self._lock:
            self.sent += len(piece)
            self._kept.append(piece)
            self._kept_bytes += len(piece)
            while self._kept_bytes > KEPT_BYTES_MAX:
                self._forget()

    def _forget(self) -> None:
        """Forget the first piece. The caller holds the lock."""
        piece = self._kept.popleft()
        self._kept_from += len(piece)
        self._kept_bytes -= len(piece)


def write_stream(
    channel: KernelChannel,
    stub: BlockDeviceServiceStub,
    feed: Feed,
    progress: Progress = ignore,
    retry_for: float | None = None,
) -> None:
    """Write all that a feed has. Any error says what is written and what is not.

    When the kernel service is lost, another stream goes on behind what was acknowledged.
    """
    written, patience = 0, Patience(channel, retry_for)
    try:
        while True:
            begun = written
            try:
                with channel.errors():
                    call = stub.Write(feed.requests(begun), metadata=channel.metadata())
                    feed.call.set_result(cast("Cancellable", call))
                    with channel.running(cast("Cancellable", call)):
                        for response in channel.messages(call):
                            written = begun + response.written_bytes
                            feed.acknowledge(written)
                            patience.renew()
                            progress(written)
                break
            except VirtmeshError as error:
                written = max(written, begun + int(error.metadata.get("written_bytes", 0)))
                if feed.error is not None:
                    raise
                patience.bear(error, repeats=feed.can_resume(written))
        check_count("took", written, feed.sent)
    except BaseException as error:  # noqa: BLE001 - raised again, or what caused it
        cause = feed.error or error
        account(cause, "written", written, feed.total, feed.header.offset_bytes)
        raise cause from None


def check_count(verb: str, done: int, meant: int) -> None:
    """Refuse a stream that ended well but short. Errors: BlockIOError."""
    if done != meant:
        raise BlockIOError(f"the kernel {verb} {done} of {meant} bytes and reported no error")


def read_stream(
    channel: KernelChannel,
    stub: BlockDeviceServiceStub,
    request: kernel_pb.ReadRequest,
    progress: Progress,
    retry_for: float | None = None,
) -> Iterator[bytes]:
    """Read a range in pieces of at most 1 MiB. Any error says how much was read.

    When the kernel service is lost, another stream goes on behind what came.
    """
    done, patience = 0, Patience(channel, retry_for)
    start, length = request.offset_bytes, request.length_bytes
    try:
        while True:
            request.offset_bytes, request.length_bytes = start + done, length - done
            try:
                with channel.errors():
                    call = stub.Read(request, metadata=channel.metadata())
                    with channel.running(cast("Cancellable", call)):
                        for response in channel.messages(call):
                            done += len(response.data)
                            patience.renew()
                            yield response.data
                            progress(done)
                break
            except VirtmeshError as error:
                if done >= length:
                    break  # all of it came
                patience.bear(error)
        check_count("sent", done, length)
    except GeneratorExit:
        raise
    except BaseException as error:
        account(error, "read", done, length, start)
        raise
