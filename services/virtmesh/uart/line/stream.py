"""One Open stream: a task that puts a client's input on the line, and one that writes to it.

Neither holds more than a message: the reader waits while the line has no room, and the writer sends
what is new in the scrollback, at most CHUNK_BYTES of it, whenever the client has taken the last.

A client that goes, even one that is killed, is like a terminal whose cable is pulled: what it had
put on the line stays there and arrives; what the line had no room for, and what this service had
not read yet, is lost with the client. How much has arrived it knows from `Taken`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.uart.line import messages
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.errors import BadStream, ShuttingDown, WatcherTooSlow

if TYPE_CHECKING:
    from virtmesh.uart.line.far_end import FarEnd, Watcher

CHUNK_BYTES = 64 << 10
"""Most output of one message (uart.proto)."""


@dataclass
class Progress:
    """What became of a stream's input, in characters."""

    news: asyncio.Event
    sent: int = 0
    """Read from the stream: on the line, or about to be."""
    characters: int = 0
    """Taken from the line."""
    overrun: int = 0
    """Those of them that were lost to an overrun."""

    def taken(self, characters: int, overrun: int) -> None:
        """Count what has left the line."""
        self.characters += characters
        self.overrun += overrun
        self.news.set()


@dataclass
class OpenStream:
    """The stream of one client, from `run` on."""

    far_end: FarEnd
    context: Any
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be something to write."""

    def __post_init__(self) -> None:
        self._progress = Progress(self.news)
        self._told = 0
        """Characters that the client knows to be taken."""
        self._snapshot: pb.Snapshot | None = None
        """The snapshot, until it is written."""
        self._watcher: Watcher | None = None
        self._complete = False
        """True when no input comes any more."""
        self._ending = False
        """True when nothing more is waited for."""

    async def run(self, closing: asyncio.Future[None]) -> None:
        """Serve the stream to its end (uart.proto, Open).

        Errors: BadStream, BadValue, WatcherTooSlow; ShuttingDown when `closing` is done.
        """
        reader = asyncio.create_task(self._read(), name="uart-read")
        writer = asyncio.create_task(self._write(), name="uart-write")
        try:
            await asyncio.wait({reader, writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                await asyncio.wait({writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                reader.cancel()
                self._end()
                # What the machine has sent still goes out, to a client that reads. No cancelling: a
                # call that is cancelled in a write can say nothing any more.
                await asyncio.wait({writer})
                raise ShuttingDown("the device service is stopping")
            await writer
            await reader
        finally:
            reader.cancel()
            writer.cancel()
            self._unplug()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def _end(self) -> None:
        """Wait for nothing more."""
        self._ending = True
        self.news.set()

    def _unplug(self) -> None:
        """Tell the client nothing more of the machine."""
        self._snapshot = None
        if self._watcher is not None:
            self.far_end.leave(self._watcher)
            self._watcher = None

    # -- From the client --------------------------------------------------------------------------

    async def _read(self) -> None:
        """Do what the client asks for. After an error, only what was taken is still told."""
        try:
            request = await self.context.read()
            if request is grpc.aio.EOF:
                return
            self._start(request)
            while (request := await self.context.read()) is not grpc.aio.EOF:
                await self._obey(request)
        except Exception:
            # Also what gRPC could not parse: nothing that follows it would be read.
            self._unplug()
            self._end()
            raise
        finally:
            self._complete = True
            self.news.set()

    def _start(self, request: pb.OpenRequest) -> None:
        """Plug the terminal in. Errors: BadStream, BadValue."""
        if request.WhichOneof("request") != "start":
            raise BadStream("the first request of a stream must be its start")
        start, far_end, line = request.start, self.far_end, self.far_end.line
        beginning = far_end.begin(start)
        if start.watch:
            self._watcher = far_end.watch(beginning.offset, self.news)
        self._snapshot = pb.Snapshot(
            epoch=far_end.epoch,
            offset=beginning.offset,
            output_offset=far_end.scrollback.end,
            missed_bytes=beginning.missed_bytes,
            restarted=beginning.restarted,
            format=messages.spell_format(line.format),
            port_lines=messages.spell_port_lines(line.port_lines),
            lines=messages.spell_lines(line.lines),
        )
        self.news.set()

    async def _obey(self, request: pb.OpenRequest) -> None:
        """Put input on the line, or set its lines. Errors: BadStream, BadValue."""
        line = self.far_end.line
        match request.WhichOneof("request"):
            case "input":
                sending = messages.parse_input(request.input)
                self._progress.sent += sending.characters
                await line.send(
                    sending.data,
                    error=sending.error,
                    flow=sending.flow,
                    on_taken=self._progress.taken,
                )
            case "lines":
                line.set_lines(messages.change_lines(line.lines, request.lines))
            case "start":
                raise BadStream("this stream has begun: only its first request is a start")
            case _:
                raise BadStream("a request holds a start, input or lines; this one holds nothing")

    # -- To the client ----------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write until all is told that there is to tell. Errors: WatcherTooSlow."""
        while True:
            responses = self._round()
            for response in responses:
                await self.context.write(response)
            if not responses:
                if self._ending or self._all_told:
                    return
                self.news.clear()
                await self.news.wait()

    @property
    def _all_told(self) -> bool:
        """True when nothing can become of this stream any more."""
        all_taken = self._progress.characters == self._progress.sent
        return self._complete and self._watcher is None and all_taken

    def _round(self) -> list[pb.OpenResponse]:
        """Take what is new, at most one response of each kind, so that none waits for another."""
        responses = []
        if self._snapshot is not None:
            responses.append(pb.OpenResponse(snapshot=self._snapshot))
            self._snapshot = None
        progress = self._progress
        if progress.characters != self._told:
            self._told = progress.characters
            responses.append(
                pb.OpenResponse(taken=pb.Taken(characters=self._told, overrun=progress.overrun))
            )
        if self._watcher is not None:
            responses += self._watched(self._watcher)
        return responses

    def _watched(self, watcher: Watcher) -> list[pb.OpenResponse]:
        """Take what is new to a watcher. Errors: WatcherTooSlow."""
        if watcher.cut:
            raise WatcherTooSlow(
                f"more than {self.far_end.scrollback.size} bytes behind: cut off before byte"
                f" {watcher.offset}; open again with a tail, or read faster",
                offset=watcher.offset,
                epoch=self.far_end.epoch,
            )
        responses = []
        if watcher.port_lines is not None:
            lines = messages.spell_port_lines(watcher.port_lines)
            responses.append(pb.OpenResponse(port_lines=lines))
            watcher.port_lines = None
        if watcher.line_format is not None:
            line_format = messages.spell_format(watcher.line_format)
            responses.append(pb.OpenResponse(format=line_format))
            watcher.line_format = None
        data = self.far_end.scrollback.read(watcher.offset, CHUNK_BYTES)
        if data:
            responses.append(pb.OpenResponse(output=pb.Output(offset=watcher.offset, data=data)))
            watcher.offset += len(data)
        return responses
