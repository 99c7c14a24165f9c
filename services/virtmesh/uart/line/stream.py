"""One Open stream. A reader task puts the client's input on the line; a writer task sends output.

Neither task holds more than one message. The reader waits while the line has no room. The writer
sends what is new in the scrollback, at most CHUNK_BYTES at a time, when the client has taken the
previous message. After output it gathers for a moment, or until there is input: a machine that
prints its log costs a message now and then, and the echo of a key comes at once.

A client may end or be killed at any time. Input that it put on the line still arrives. Input that
had no room on the line, or that the service has not read, is lost. The client knows from `Taken`
how much has arrived.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.uart.line import messages
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.errors import BadStream, VirtmeshError, WatcherTooSlow

if TYPE_CHECKING:
    from virtmesh.uart.line.far_end import FarEnd, Watcher

CHUNK_BYTES = 64 << 10
"""Most bytes of output in one message (uart.proto)."""
GATHER_SECONDS = 0.005
"""How long output is gathered. A message costs service and client as much as ten register accesses;
115,200 Bd are 57 characters in this time."""


@dataclass
class Progress:
    """How much of a stream's input has arrived, in characters."""

    news: asyncio.Event
    sent: int = 0
    """Characters read from the stream: on the line, or about to be put on it."""
    characters: int = 0
    """Characters that the port has taken from the line."""
    overrun: int = 0
    """Characters among those that were lost to an overrun."""

    def taken(self, characters: int, overrun: int) -> None:
        """Count characters that left the line."""
        self.characters += characters
        self.overrun += overrun
        self.news.set()


@dataclass
class OpenStream:
    """The stream of one client. `run` serves it."""

    far_end: FarEnd
    context: Any
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the writer may have something to send."""

    def __post_init__(self) -> None:
        self._progress = Progress(self.news)
        self._told = 0
        """Taken characters that the client was told of."""
        self._snapshot: pb.Snapshot | None = None
        """The snapshot, until it is sent; else None."""
        self._watcher: Watcher | None = None
        self._hurry = asyncio.Event()
        """Set when output must not be gathered any more."""
        self._complete = False
        """True once the reader has ended."""
        self._ending = False
        """True once the writer must not wait any more."""

    async def run(self, closing: asyncio.Future[VirtmeshError]) -> None:
        """Serve the stream to its end (uart.proto, Open).

        Errors: BadStream, BadValue, WatcherTooSlow; what `closing` has once it is done.
        """
        reader = asyncio.create_task(self._read(), name="uart-read")
        writer = asyncio.create_task(self._write(), name="uart-write")
        ends: set[asyncio.Future[Any]] = {writer, closing}
        try:
            await asyncio.wait({reader, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                reader.cancel()
                self._end()
                # Output that the machine has sent still goes to a client that reads. The writer is
                # not cancelled: a call that is cancelled in a write can't send its status.
                await asyncio.wait({writer})
                raise closing.result().again()
            await writer
            await reader
        finally:
            reader.cancel()
            writer.cancel()
            self._unplug()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def _end(self) -> None:
        """Have the writer send what is there, and end."""
        self._ending = True
        self.news.set()
        self._hurry.set()

    def _unplug(self) -> None:
        """Stop sending output, lines and formats to the client."""
        self._snapshot = None
        if self._watcher is not None:
            self.far_end.leave(self._watcher)
            self._watcher = None

    # -- From the client --------------------------------------------------------------------------

    async def _read(self) -> None:
        """Execute the requests of the client. After an error only `Taken` messages are sent."""
        try:
            request = await self.context.read()
            if request is grpc.aio.EOF:
                return
            self._start(request)
            while (request := await self.context.read()) is not grpc.aio.EOF:
                await self._obey(request)
        except Exception:
            # A message that gRPC could not parse ends the stream as well: nothing after it is read.
            self._unplug()
            self._end()
            raise
        finally:
            self._complete = True
            self.news.set()

    def _start(self, request: pb.OpenRequest) -> None:
        """Begin the stream with its first request. Errors: BadStream, BadValue."""
        if request.WhichOneof("request") != "start":
            raise BadStream("the first request of a stream must be a start")
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
        """Put input on the line, or set the modem lines. Errors: BadStream, BadValue."""
        line = self.far_end.line
        match request.WhichOneof("request"):
            case "input":
                self._hurry.set()
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
                raise BadStream("this stream has begun: only its first request may be a start")
            case _:
                raise BadStream("this request is empty: send input or lines")

    # -- To the client ----------------------------------------------------------------------------

    async def _write(self) -> None:
        """Send responses until the stream has ended. Errors: WatcherTooSlow."""
        while True:
            responses = self._round()
            for response in responses:
                await self.context.write(response)
            if any(0 < len(response.output.data) < CHUNK_BYTES for response in responses):
                await self._gather()
            elif not responses:
                if self._ending or self._all_told:
                    return
                self.news.clear()
                await self.news.wait()

    async def _gather(self) -> None:
        """Wait for GATHER_SECONDS; no longer than to the next input, or the end."""
        if self._ending:
            return
        self._hurry.clear()
        alarm = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._hurry.set)
        try:
            await self._hurry.wait()
        finally:
            alarm.cancel()

    @property
    def _all_told(self) -> bool:
        """True when the stream has nothing more to send, now or later."""
        all_taken = self._progress.characters == self._progress.sent
        return self._complete and self._watcher is None and all_taken

    def _round(self) -> list[pb.OpenResponse]:
        """Return what is new: at most one response of each kind, so that none waits for another."""
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
        """Return what is new for a watcher. Errors: WatcherTooSlow."""
        if watcher.cut:
            raise WatcherTooSlow(
                f"this client was more than {self.far_end.scrollback.size} bytes behind and was cut"
                f" off before byte {watcher.offset}: open the stream again with tail_bytes, or read"
                f" faster",
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
