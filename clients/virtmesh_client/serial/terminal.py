"""A terminal at the far end of a serial line, which comes back by itself.

Invariant: `_lock` guards everything that the threads share. Three kinds of thread use a terminal:
callers, which send and read; gRPC's own, which takes the requests of a stream from its queue; and
one thread that belongs to the terminal, which opens one stream after the other and alone reads
them. That thread never waits for a reader: what nobody reads is dropped, oldest first, so that it
always learns what became of the input.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

from virtmesh_client.serial.codecs import to_format, to_port_lines
from virtmesh_client.serial.inbox import Inbox
from virtmesh_client.serial.models import Back, Gap, Gone, Output, Position, Restarted
from virtmesh_client.serial.outbox import WINDOW, Outbox
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import (
    DeviceLost,
    DeviceNotReady,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
    WatcherTooSlow,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.serial.models import Event
    from virtmesh_client.serial.outbox import Ticket

PASSING = (DeviceLost, DeviceNotReady, ServiceUnavailable, ShuttingDown, WatcherTooSlow)
"""What a terminal comes back from."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 1.0
MOST_TAIL_BYTES = (1 << 32) - 1
"""What the contract has room for; a scrollback is smaller."""
OPEN_SECONDS = 30.0
"""How long the first stream may take to begin."""
CLOSE_SECONDS = 1.0
"""How long input may take to leave the line of a terminal that is closed."""


class Waiter:
    """One call that waits, so that another thread can end it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.cancelled = False
        self._wake = wake

    def cancel(self) -> None:
        """End the call."""
        self.cancelled = True
        self._wake()


class Terminal:
    """One terminal. It is opened by `open`, and ended by `close` or by an error that stays.

    Errors: ValueError for a beginning that no stream has.
    """

    def __init__(
        self,
        channel: KernelChannel,
        device: str,
        *,
        watch: bool = True,
        tail: int = 0,
        since: Position | None = None,
    ) -> None:
        if tail < 0 or (since is not None and since.offset < 0):
            raise ValueError("output begins at an offset, or with a tail, of 0 or more bytes")
        self.device = device
        self.gone: str | None = None
        """Why there is no stream now; None while there is one."""
        self.position = since or Position(0)
        """Where output goes on: behind what was taken in, read or not."""
        self._channel = channel
        self._watch = watch
        self._tail = None if since else min(tail, MOST_TAIL_BYTES)
        self._lock = threading.Condition()
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._requests: SimpleQueue[pb.OpenRequest | None] | None = None
        self._call: Cancellable | None = None
        self._thread: threading.Thread | None = None
        self._opened = self._finished = self._closed = self._ended = False
        self._error: VirtmeshError | None = None

    def open(self) -> None:
        """Plug in, unless it is; nothing that the machine sends from now on is missed.

        Errors: DeviceNotFound, DeviceLost, ServiceUnavailable; DeviceNotReady after OPEN_SECONDS.
        """
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="virtmesh-terminal", daemon=True
                )
                self._thread.start()
            elif self._opened:
                return
        if not self.wait(lambda: self._opened, OPEN_SECONDS):
            raise DeviceNotReady(f"{self.device} does not answer within {OPEN_SECONDS:g} s")

    def close(self, *, hurry: bool = False) -> None:
        """Unplug. Input that is under way has CLOSE_SECONDS to leave the line, unless in a hurry.

        What is on the line by then stays there; what is not may be lost.
        """
        with self._lock:
            if not hurry:
                self._lock.wait_for(lambda: self._idle or self._closed, CLOSE_SECONDS)
            self._closed = self._finished = True
            self._unplug()
            self._lock.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def wait(self, condition: Callable[[], object], seconds: float | None) -> bool:
        """Wait until it is so; False when the time is over.

        Errors: what ended the terminal; VirtmeshError when the call, or the terminal, is cancelled.
        """
        waiter = Waiter(self._wake)
        with self._channel.running(waiter), self._lock:
            self._lock.wait_for(lambda: condition() or self._ended or waiter.cancelled, seconds)
            if condition():
                return True
            if waiter.cancelled:
                raise VirtmeshError("the call was cancelled")
            if self._ended:
                raise self._why()
            return False

    def next_event(self, seconds: float | None = None) -> Event | None:
        """Return what comes next; None when the time is over, and after `finish` or `close`.

        Errors: as `wait`.
        """
        self.wait(lambda: self._inbox or self._finished, seconds)
        with self._lock:
            return self._inbox.take() if self._inbox else None

    def finish(self) -> None:
        """Let `next_event` wait no more: it returns what is there."""
        with self._lock:
            self._finished = True
            self._lock.notify_all()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def failed(self) -> bool:
        """True when an error that stays has ended it."""
        return self._ended and self._error is not None

    @property
    def room(self) -> int:
        """Characters that `send` takes now without waiting."""
        with self._lock:
            return self._outbox.room

    @property
    def settled(self) -> int:
        """Characters that have left the line, or were lost sight of."""
        with self._lock:
            return self._outbox.settled

    @property
    def overrun(self) -> int:
        """Characters lost to an overrun, of those that this terminal sent."""
        with self._lock:
            return self._outbox.overrun

    def ticket(self) -> Ticket:
        """Begin the account of a call that sends."""
        with self._lock:
            return self._outbox.open()

    def drop(self, ticket: Ticket) -> None:
        """End the account of a call."""
        with self._lock:
            self._outbox.close(ticket)

    def send(self, ticket: Ticket, message: pb.Input, seconds: float | None = None) -> bool:
        """Send one message of input when there is room; False when the time is over before that.

        While the service is gone it is held, and sent to the next. Errors: as `wait`.
        """
        characters = max(1, len(message.data))
        if not self.wait(lambda: self._outbox.room >= characters, seconds):
            return False
        with self._lock:
            self._outbox.put(ticket, message)
            self._flush()
        return True

    def set_lines(self, lines: pb.Lines) -> None:
        """Set modem lines, behind the input sent so far; forgotten while the service is gone."""
        with self._lock:
            if self._requests is not None:
                self._requests.put(pb.OpenRequest(lines=lines))

    def purge(self) -> None:
        """Drop the output that nobody has read yet."""
        with self._lock:
            self._inbox.purge()

    @property
    def _idle(self) -> bool:
        """True when no input is under way; the lock is held."""
        return self._requests is None or self._outbox.room == WINDOW

    def _wake(self) -> None:
        with self._lock:
            self._lock.notify_all()

    def _why(self) -> VirtmeshError:
        """Return what ended the terminal, afresh for each caller."""
        if self._error is None:
            return VirtmeshError(f"the terminal of {self.device} is closed")
        return self._error.again()

    def _flush(self) -> None:
        """Hand input to the stream, if there is one; the lock is held."""
        if self._requests is not None:
            for message in self._outbox.send():
                self._requests.put(pb.OpenRequest(input=message))

    def _unplug(self) -> None:
        """End the stream; the lock is held."""
        if self._requests is not None:
            self._requests.put(None)
            self._requests = None
        if self._call is not None:
            self._call.cancel()

    def _run(self) -> None:
        """Open one stream after the other."""
        delay = FIRST_DELAY_SECONDS
        try:
            while not self._closed:
                began = self._follow_one()
                delay = FIRST_DELAY_SECONDS if began else min(2 * delay, LONGEST_DELAY_SECONDS)
                with self._lock:
                    self._lock.wait_for(lambda: self._closed, delay)
        except VirtmeshError:
            return
        finally:
            with self._lock:
                self._ended = True
                self._lock.notify_all()

    def _follow_one(self) -> bool:
        """Follow one stream to its end; says whether it began. Errors: those that stay."""
        requests: SimpleQueue[pb.OpenRequest | None] = SimpleQueue()
        requests.put(pb.OpenRequest(start=self._start()))
        began = False
        try:
            with self._channel.errors():
                stub = UartServiceStub(self._channel.grpc)
                metadata = self._channel.metadata(self.device)
                call = stub.Open(iter(requests.get, None), metadata=metadata)
                with self._lock:
                    self._call = cast("Cancellable", call)
                    if self._closed:
                        call.cancel()
                for response in call:
                    with self._lock:
                        if response.HasField("snapshot"):
                            began = True
                            self._begin(response.snapshot, requests)
                        else:
                            self._take(response)
                        self._lock.notify_all()
            error: VirtmeshError = DeviceLost(f"{self.device} ended the stream")
        except VirtmeshError as failure:
            error = failure
        finally:
            requests.put(None)
        self._end(error, began=began)
        return began

    def _start(self) -> pb.Start:
        """Return where output begins."""
        start = pb.Start(watch=self._watch)
        if self._watch and self._tail is None:
            start.offset, start.epoch = self.position.offset, self.position.epoch
        elif self._watch and self._tail:
            start.tail_bytes = self._tail
        return start

    def _begin(self, snapshot: pb.Snapshot, requests: SimpleQueue[pb.OpenRequest | None]) -> None:
        """Take the snapshot: here a stream is established; the lock is held."""
        if self._opened:
            self._inbox.put(Back())
        if snapshot.restarted:
            self._inbox.put(Restarted(snapshot.epoch, snapshot.offset))
        if snapshot.missed_bytes:
            self._inbox.put(Gap(snapshot.offset, snapshot.missed_bytes))
        self._tail = None
        self.position = Position(snapshot.offset, snapshot.epoch)
        if self._watch:
            self._inbox.put(to_format(snapshot.format))
            self._inbox.put(to_port_lines(snapshot.port_lines))
        self._opened, self.gone = True, None
        self._requests = requests
        self._outbox.begin()
        self._flush()

    def _take(self, response: pb.OpenResponse) -> None:
        """Take any other response; the lock is held."""
        kind = response.WhichOneof("response")
        if kind == "output":
            data = response.output.data
            self._inbox.put(Output(response.output.offset, data))
            self.position = Position(response.output.offset + len(data), self.position.epoch)
        elif kind == "taken":
            self._outbox.taken(response.taken.characters, response.taken.overrun)
        elif kind == "port_lines":
            self._inbox.put(to_port_lines(response.port_lines))
        elif kind == "format":
            self._inbox.put(to_format(response.format))

    def _end(self, error: VirtmeshError, *, began: bool) -> None:
        """Note that a stream ended. Errors: those that stay."""
        with self._lock:
            self._requests = self._call = None
            uncertain = self._outbox.end()
            if self._closed:
                return
            if not self._opened or not passes(error):
                self._error, self._ended = error, True
                self._lock.notify_all()
                raise error
            self.gone = error.message
            if began:
                self._inbox.put(Gone(error.message, uncertain))
            self._lock.notify_all()


def passes(error: VirtmeshError) -> bool:
    """Say whether to come back from an error: also from one that no service has worded."""
    return isinstance(error, PASSING) or type(error) is VirtmeshError
