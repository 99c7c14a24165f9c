"""Streams of bytes to and from a disk: bounded memory, exact accounts when they fail.

Writes use gRPC's blocking streams. Its asyncio streams lose the service's error when a send is
under way as the service ends the call: measured, one time in four.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from time import monotonic
from typing import TYPE_CHECKING, cast

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
    """The requests of one write stream; gRPC takes them on a thread of its own.

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
        self.digest = hashlib.sha256()
        self.sent = 0
        self.error: Exception | None = None
        self._parts = parts
        self._clock = clock

    def requests(self) -> Iterator[kernel_pb.WriteRequest]:
        """Yield the header, then the data."""
        yield kernel_pb.WriteRequest(header=self.header)
        size = FIRST_BYTES
        try:
            for part in self._parts:
                begin = 0
                while begin < len(part):
                    piece = part[begin : begin + size]
                    self.digest.update(piece)
                    begin += len(piece)
                    self.sent += len(piece)
                    before = self._clock()
                    yield kernel_pb.WriteRequest(data=piece)
                    slow = self._clock() - before > SLOW_S
                    size = max(LEAST_BYTES, size // 2) if slow else min(CHUNK_LIMIT_BYTES, size * 2)
        except Exception as error:  # noqa: BLE001 - it is raised where the copy was asked for
            self.error = error
            # Without this the service would take the short stream for a complete one.
            self.call.result().cancel()


def write_stream(
    channel: KernelChannel, stub: BlockDeviceServiceStub, feed: Feed, progress: Progress = ignore
) -> None:
    """Write all that a feed has. Any error says what is written and what is not."""
    written = 0
    try:
        with channel.errors():
            call = stub.Write(feed.requests(), metadata=channel.metadata())
            feed.call.set_result(cast("Cancellable", call))
            with channel.running(cast("Cancellable", call)):
                for response in channel.messages(call):
                    written = response.written_bytes
                    progress(written)
        check_count("took", written, feed.sent)
    except BaseException as error:  # noqa: BLE001 - raised again, or what caused it
        cause = feed.error or error
        if isinstance(error, VirtmeshError):
            written = max(written, int(error.metadata.get("written_bytes", 0)))
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
) -> Iterator[bytes]:
    """Read a range in pieces of at most 1 MiB. Any error says how much was read."""
    done = 0
    try:
        with channel.errors():
            call = stub.Read(request, metadata=channel.metadata())
            with channel.running(cast("Cancellable", call)):
                for response in channel.messages(call):
                    done += len(response.data)
                    yield response.data
                    progress(done)
        check_count("sent", done, request.length_bytes)
    except GeneratorExit:
        raise
    except BaseException as error:
        account(error, "read", done, request.length_bytes, request.offset_bytes)
        raise
