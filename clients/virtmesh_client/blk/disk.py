"""One disk of a machine, blocking. Offsets and lengths are in bytes, with any alignment."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast

from virtmesh_client.atomic_file import new_file
from virtmesh_client.blk.calls import DiskCalls
from virtmesh_client.blk.handed import Copy, Place, behind, export_file, import_file, plain_file
from virtmesh_client.blk.messages import to_info, to_stats, to_status
from virtmesh_client.blk.transfer import Feed, account, make_hash, read_stream, write_stream
from virtmesh_client.channel import STORAGE_SECONDS
from virtmesh_client.models import CopyResult
from virtmesh_client.streams import file_pieces, ignore, pieces, remaining, writer
from virtmesh_common.api.block.v1 import block_pb2
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.kernel.v1 import block_device_pb2 as kernel_pb
from virtmesh_common.blk.errors import BlockIOError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from virtmesh_client.blk.transfer import Hash
    from virtmesh_client.models import DeviceStatus, DiskInfo, DiskStats
    from virtmesh_client.streams import Data, Progress

Response = TypeVar("Response")


class Disk(DiskCalls):
    """A disk. Its methods raise DeviceNotFound, DeviceNotReady, DeviceLost, ServiceUnavailable.

    The error of a failed copy says how far it came: its `metadata` has "written_bytes" or
    "read_bytes", "offset_bytes" and, where it is known, "length_bytes". A note has the same in
    words.

    `retry_for` is how long a call waits for a disk that is away, in seconds: what its service had
    when it died is carried out by the next one, and the call only takes longer. The same holds for
    the kernel service: what it had not answered is done again, at the same place. None: as
    `connect` was told. 0: not at all, so that a loss ends the call with DeviceLost, or
    ServiceUnavailable. Errors: DiskChanged, when it comes back as another.

    Example:
        with virtmesh_client.connect() as machine:
            machine.disk("vda").write(512, b"hello")
            print(machine.disk("vda").read(512, 5))
    """

    def info(self, *, retry_for: float | None = None) -> DiskInfo:
        """Describe the disk and its image."""
        disk = self._identify(retry_for)
        image = self._ask_image(retry_for)
        return to_info(self.name, disk, image)

    def read(self, offset: int, length: int, *, retry_for: float | None = None) -> bytes:
        """Read a range into memory. Errors: PastEnd."""
        return b"".join(self.stream(offset, length, retry_for=retry_for))

    def read_into(
        self, offset: int, buffer: bytearray | memoryview, *, retry_for: float | None = None
    ) -> int:
        """Fill a buffer from `offset` on; returns its size. Errors: PastEnd."""
        view = memoryview(buffer).cast("B")
        position = 0
        for piece in self.stream(offset, len(view), retry_for=retry_for):
            view[position : position + len(piece)] = piece
            position += len(piece)
        return position

    def stream(
        self,
        offset: int = 0,
        length: int | None = None,
        *,
        progress: Progress = ignore,
        retry_for: float | None = None,
    ) -> Iterator[bytes]:
        """Read a range in pieces, in order; without a length to the end. Errors: PastEnd."""
        if length is None:
            length = self._rest(offset, retry_for)
        elif length == 0:
            self._rest(offset, retry_for)  # reading no bytes from past the end is an error, too
        if length == 0:
            return iter(())
        request = kernel_pb.ReadRequest(
            device=self.name,
            offset_bytes=offset,
            length_bytes=length,
            retry_for_ms=self._retry_ms(retry_for),
        )
        return read_stream(self._channel, self._kernel, request, progress, retry_for)

    def write(
        self,
        offset: int,
        data: Data | BinaryIO | Iterable[Data],
        *,
        progress: Progress = ignore,
        retry_for: float | None = None,
    ) -> CopyResult:
        """Write bytes, an iterable of bytes, or the rest of a binary file.

        Errors: BlockReadOnly, PastEnd; the bytes are durable after `flush`.
        """
        total: int | None
        if isinstance(data, (bytes, bytearray, memoryview)):
            total, parts = memoryview(data).nbytes, pieces(data)
        elif hasattr(data, "read"):
            file = cast("BinaryIO", data)
            total = remaining(file)
            return self._write_file(offset, file, total, progress, retry_for, make_hash())
        else:
            total, parts = None, pieces(data)
        return self._write(offset, parts, total, progress, retry_for, make_hash())

    def import_from(  # noqa: PLR0913 - each has a name
        self,
        source: str | Path | BinaryIO,
        *,
        offset: int = 0,
        flush: bool = True,
        verify: bool = False,
        digest: bool = True,
        progress: Progress = ignore,
        retry_for: float | None = None,
    ) -> CopyResult:
        """Copy a file to the disk; with `verify` read it back and compare.

        Without `digest` nobody hashes the data, unless it is verified: `sha256` is empty then.
        A file that does not fit is refused before anything is written. Errors: PastEnd,
        BlockReadOnly; BlockIOError when verification fails; OSError of the source.
        """
        begin = time.monotonic()
        with contextlib.ExitStack() as stack:
            if isinstance(source, (str, Path)):
                source = stack.enter_context(Path(source).open("rb", buffering=0))
            total = remaining(source)
            self._check_room(offset, total or 0, retry_for)
            hashed = make_hash(digest or verify)
            copy = self._write_file(offset, source, total, progress, retry_for, hashed)
        if flush:
            self.flush(retry_for=retry_for)
        if verify:
            self._compare(offset, copy, retry_for)
        return CopyResult(copy.bytes, time.monotonic() - begin, copy.sha256, verify)

    def export_to(  # noqa: PLR0913 - each has a name
        self,
        target: str | Path | BinaryIO,
        *,
        offset: int = 0,
        length: int | None = None,
        overwrite: bool = False,
        digest: bool = True,
        progress: Progress = ignore,
        retry_for: float | None = None,
    ) -> CopyResult:
        """Copy the disk to a file, which gets its name when it is complete; zeroes become holes.

        A binary file instead of a path is written as it is. Without `digest` nobody hashes the
        data: `sha256` is empty then. Errors: FileExistsError without `overwrite`; PastEnd; OSError
        of the target.
        """
        begin, done = time.monotonic(), 0
        if length is None:
            length = self._rest(offset, retry_for)
        hashed = make_hash(digest)
        with contextlib.ExitStack() as stack:
            write: Callable[[bytes], None]
            if isinstance(target, (str, Path)):
                file = stack.enter_context(new_file(Path(target), overwrite=overwrite))
                write, at = file.write, Place(file.descriptor, 0, str(target))
                copy = self._copy(at, offset, length, progress, retry_for)
                done = export_file(copy, hashed, self._kernel.Export)
                file.skip(done)
            else:
                write = writer(target)
            parts: Iterator[bytes] = iter(())
            if done < length or not length:
                more, left = behind(done, progress), length - done
                parts = self.stream(offset + done, left, progress=more, retry_for=retry_for)
            try:
                for part in parts:
                    write(part)
                    hashed.update(part)
                    done += len(part)
            except BaseException as error:
                # The target fails here, and Ctrl-C strikes anywhere.
                account(error, "read", done, length, offset)
                raise
        return CopyResult(done, time.monotonic() - begin, hashed.hexdigest())

    def flush(self, *, retry_for: float | None = None) -> None:
        """Make every completed write durable. Errors: BlockIOError."""
        request = kernel_pb.FlushRequest(device=self.name, retry_for_ms=self._retry_ms(retry_for))
        self._ask(self._kernel.Flush, request, STORAGE_SECONDS, retry_for)

    def discard(self, offset: int, length: int, *, retry_for: float | None = None) -> None:
        """Discard a range of whole blocks: its content is undefined afterwards.

        Errors: PastEnd, Unaligned, BlockUnsupported, BlockReadOnly.
        """
        request = kernel_pb.DiscardRequest(
            device=self.name,
            offset_bytes=offset,
            length_bytes=length,
            retry_for_ms=self._retry_ms(retry_for),
        )
        self._ask(self._kernel.Discard, request, STORAGE_SECONDS, retry_for)

    def write_zeroes(
        self,
        offset: int,
        length: int,
        *,
        unmap: bool = False,
        retry_for: float | None = None,
    ) -> None:
        """Fill a range of whole blocks with zeroes; `unmap` allows the disk to free its storage.

        Errors: PastEnd, Unaligned, BlockUnsupported, BlockReadOnly.
        """
        request = kernel_pb.WriteZeroesRequest(
            device=self.name,
            offset_bytes=offset,
            length_bytes=length,
            unmap=unmap,
            retry_for_ms=self._retry_ms(retry_for),
        )
        self._ask(self._kernel.WriteZeroes, request, STORAGE_SECONDS, retry_for)

    def resize(self, capacity: int, *, allow_shrink: bool = False) -> int:
        """Change the capacity while the disk is in use; returns the capacity before.

        It returns when the driver has seen the change. Errors: BadSize, WouldShrink,
        BlockReadOnly, NotResizable.
        """
        request = block_pb2.ResizeRequest(capacity_bytes=capacity, allow_shrink=allow_shrink)
        response = self._channel.ask(self._admin.Resize, request, self.name, limit=STORAGE_SECONDS)
        self._await_capacity(response.capacity_bytes)
        return response.previous_capacity_bytes

    def set_read_only(self, read_only: bool = True) -> None:  # noqa: FBT001, FBT002 - the value
        """Refuse writes from now on, or take them again. Errors: BlockReadOnly."""
        request = block_pb2.SetReadOnlyRequest(read_only=read_only)
        self._channel.ask(self._admin.SetReadOnly, request, self.name)

    def resume(self, *, give_up: bool = False) -> int:
        """Try requests again now that the storage failed, and that are held; returns how many.

        With `give_up`, those that fail again end so, as on a disk that does not hold them.
        """
        request = block_pb2.ResumeRequest(give_up=give_up)
        return self._channel.ask(self._admin.Resume, request, self.name).requests

    def mark(self, text: str) -> int:
        """Put a mark of 1 to 255 bytes into the log of writes; returns the entries that it has.

        What completed before is before the mark. Errors: NotRecording; BadRequest.
        """
        request = block_pb2.MarkRequest(text=text)
        return self._channel.ask(self._admin.Mark, request, self.name).entries

    def stats(self) -> DiskStats:
        """Return the counters of the disk and of its device service."""
        disk = self._channel.ask(self._admin.GetStats, block_pb2.GetStatsRequest(), self.name)
        device = self._channel.ask(self._device.GetStats, device_pb2.GetStatsRequest(), self.name)
        return to_stats(disk, device)

    def status(self) -> DeviceStatus:
        """Say who drives the disk, and in which state the device is."""
        status = self._channel.ask(self._device.GetStatus, device_pb2.GetStatusRequest(), self.name)
        return to_status(status)

    def _write(  # noqa: PLR0913, PLR0917 - as those of callers
        self,
        offset: int,
        parts: Iterator[bytes],
        total: int | None,
        progress: Progress,
        retry_for: float | None,
        digest: Hash,
    ) -> CopyResult:
        """Write pieces by a stream; `digest` gets them."""
        begin = time.monotonic()
        header = kernel_pb.WriteHeader(
            device=self.name, offset_bytes=offset, retry_for_ms=self._retry_ms(retry_for)
        )
        feed = Feed(header, parts, total)
        feed.digest = digest
        write_stream(self._channel, self._kernel, feed, progress, retry_for)
        return CopyResult(feed.sent, time.monotonic() - begin, feed.digest.hexdigest())

    def _write_file(  # noqa: PLR0913, PLR0917 - as those of callers
        self,
        offset: int,
        source: BinaryIO,
        total: int | None,
        progress: Progress,
        retry_for: float | None,
        digest: Hash,
    ) -> CopyResult:
        """Write the rest of a file: the kernel service reads it itself, where it can."""
        place = plain_file(source)
        if place is None or total is None:
            parts = file_pieces(source, total)
            return self._write(offset, parts, total, progress, retry_for, digest)
        begin = time.monotonic()
        copy = self._copy(place, offset, total, progress, retry_for)
        done = import_file(copy, digest, self._kernel.Import)
        source.seek(place.position + done)
        if done < total or not total:
            parts, more = file_pieces(source, total - done), behind(done, progress)
            self._write(offset + done, parts, total - done, more, retry_for, digest)
        return CopyResult(total, time.monotonic() - begin, digest.hexdigest())

    def _copy(
        self, place: Place, offset: int, length: int, progress: Progress, retry_for: float | None
    ) -> Copy:
        """Describe a copy between a file and the disk."""
        wait_ms = self._retry_ms(retry_for)
        return Copy(self._channel, self.name, offset, length, place, progress, retry_for, wait_ms)

    def _compare(self, offset: int, copy: CopyResult, retry_for: float | None) -> None:
        """Read a copy back. Errors: BlockIOError when it differs."""
        digest = hashlib.sha256()
        for part in self.stream(offset, copy.bytes, retry_for=retry_for):
            digest.update(part)
        if digest.hexdigest() != copy.sha256:
            raise BlockIOError(
                f"verification of {self.name} failed: data read back differs",
                written_sha256=copy.sha256,
                read_sha256=digest.hexdigest(),
            )
