"""A terminal at the far end of a serial line. It reconnects when its connection is lost.

Invariant: `_lock` guards everything that the threads share. Three kinds of thread use a terminal:
callers send and read; a thread of gRPC takes the requests of a stream from its queue; and one
thread of the terminal opens the streams, one after the other, and reads them. Only that thread
reads streams. It never waits for a caller to read: the oldest unread output is dropped instead, so
that reports about input always arrive.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, cast

from virtmesh_client.channel import ChannelCondition
from virtmesh_client.serial.codecs import to_format, to_port_lines
from virtmesh_client.serial.inbox import Inbox
from virtmesh_client.serial.models import (
    Disconnected,
    Gap,
    Output,
    Position,
    Reconnected,
    Restarted,
)
from virtmesh_client.serial.outbox import UNSETTLED_MAX, Outbox
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import (
    CallCancelled,
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
    from virtmesh_client.serial.models import SerialEvent
    from virtmesh_client.serial.outbox import Ticket

RETRIED = (
    CallCancelled,
    DeviceLost,
    DeviceNotReady,
    ServiceUnavailable,
    ShuttingDown,
    WatcherTooSlow,
)
"""Errors after which a terminal reconnects."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 1.0
MOST_TAIL_BYTES = (1 << 32) - 1
"""Largest value of the field (virtmesh.uart.v1.Start). Any scrollback is smaller."""
OPEN_SECONDS = 30.0
"""How long `open` waits for the first stream to begin."""
CLOSE_SECONDS = 1.0
"""How long `close` waits for input to leave the line."""


class Waiter:
    """A waiting call that another thread can cancel."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.cancelled = False
        self._wake = wake

    def cancel(self) -> None:
        """Cancel the call."""
        self.cancelled = True
        self._wake()


class SerialTerminal:
    """A terminal. `open` connects it. It ends by `close`, or by an error that is not retried.

    Errors: ValueError for a negative `tail` or offset.
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
            raise ValueError(
                f"tail={tail}, since={since}: a tail and an offset must be 0 or more bytes"
            )
        self.device = device
        self.gone: str | None = None
        """Why there is no stream at present; None while there is one."""
        self.position = since or Position(0)
        """Position after the last byte of output that arrived, read or not."""
        self._channel = channel
        self._watch = watch
        self._tail = None if since else min(tail, MOST_TAIL_BYTES)
        self._lock = ChannelCondition(channel)
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._requests: SimpleQueue[pb.OpenRequest | None] | None = None
        self._call: Cancellable | None = None
        self._thread: threading.Thread | None = None
        self._opened = self._finished = self._closed = self._ended = False
        self._error: VirtmeshError | None = None

    def open(self) -> None:
        """Connect, unless the terminal is connected. From now on all output is received.

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
            raise DeviceNotReady(f"{self.device} did not answer within {OPEN_SECONDS:g} s")

    def close(self, *, hurry: bool = False) -> None:
        """Disconnect. Without `hurry`, first wait up to CLOSE_SECONDS until input leaves the line.

        Input that has reached the line by then stays there; the rest may be lost. In a forked child
        nothing happens: the terminal is the parent's.
        """
        if self._channel.forked:
            return
        with self._lock:
            if not hurry:
                self._lock.wait_for(lambda: self._idle or self._closed, CLOSE_SECONDS)
            self._closed = self._finished = True
            self._unplug()
            self._lock.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def wait(self, condition: Callable[[], object], seconds: float | None) -> bool:
        """Wait until a condition is true. Returns False after `seconds`.

        Errors: the error that ended the terminal; VirtmeshError when the call is cancelled or the
        terminal is closed.
        """
        waiter = Waiter(self._wake)
        with self._channel.running(waiter), self._lock:
            self._lock.wait_for(lambda: condition() or self._ended or waiter.cancelled, seconds)
            if condition():
                return True
            if waiter.cancelled:
                raise VirtmeshError("the call was cancelled")
            if self._ended:
                raise self._final_error()
            return False

    def next_event(self, seconds: float | None = None) -> SerialEvent | None:
        """Return the next event; None after `seconds`, and after `finish` or `close`.

        Errors: the error that ended the terminal; VirtmeshError when the call is cancelled.
        """
        self.wait(lambda: self._inbox or self._finished, seconds)
        with self._lock:
            return self._inbox.take() if self._inbox else None

    def finish(self) -> None:
        """Make `next_event` return at once from now on, with events that are there or None."""
        with self._lock:
            self._finished = True
            self._lock.notify_all()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def failed(self) -> bool:
        """True when an error that is not retried has ended the terminal."""
        return self._ended and self._error is not None

    @property
    def room(self) -> int:
        """Number of characters that `send` accepts now without waiting."""
        with self._lock:
            return self._outbox.room

    @property
    def settled(self) -> int:
        """Characters that have left the line, or were under way when their stream ended."""
        with self._lock:
            return self._outbox.settled

    @property
    def overrun(self) -> int:
        """Characters of this terminal that were lost to an overrun."""
        with self._lock:
            return self._outbox.overrun

    def ticket(self) -> Ticket:
        """Return a ticket for the input of a call."""
        with self._lock:
            return self._outbox.open()

    def drop(self, ticket: Ticket) -> None:
        """Forget the ticket of a call that has ended."""
        with self._lock:
            self._outbox.close(ticket)

    def send(self, ticket: Ticket, message: pb.Input, seconds: float | None = None) -> bool:
        """Send one message of input. Wait up to `seconds` for room; return False without room.

        While there is no connection the message is held; the next connection sends it.
        Errors: the error that ended the terminal; VirtmeshError when the call is cancelled.
        """
        characters = max(1, len(message.data))
        if not self.wait(lambda: self._outbox.room >= characters, seconds):
            return False
        with self._lock:
            self._outbox.put(ticket, message)
            self._flush()
        return True

    def set_lines(self, lines: pb.Lines) -> None:
        """Set modem lines after the input sent so far. Does nothing without a connection."""
        with self._lock:
            if self._requests is not None:
                self._requests.put(pb.OpenRequest(lines=lines))

    def purge(self) -> None:
        """Drop the output that was not read yet."""
        with self._lock:
            self._inbox.purge()

    @property
    def _idle(self) -> bool:
        """True when no input is under way. The caller holds the lock."""
        return self._requests is None or self._outbox.room == UNSETTLED_MAX

    def _wake(self) -> None:
        with self._lock:
            self._lock.notify_all()

    def _final_error(self) -> VirtmeshError:
        """Return a copy of the error that ended the terminal."""
        if self._error is None:
            return VirtmeshError(f"the terminal of {self.device} is closed: open a new one")
        return self._error.again()

    def _flush(self) -> None:
        """Send held input on the stream, if there is one. The caller holds the lock."""
        if self._requests is not None:
            for message in self._outbox.send():
                self._requests.put(pb.OpenRequest(input=message))

    def _unplug(self) -> None:
        """End the stream. The caller holds the lock."""
        if self._requests is not None:
            self._requests.put(None)
            self._requests = None
        if self._call is not None:
            self._call.cancel()

    def _run(self) -> None:
        """Open streams, one after the other, until the terminal ends."""
        delay = FIRST_DELAY_SECONDS
        try:
            while not self._closed:
                began = self._run_stream()
                delay = FIRST_DELAY_SECONDS if began else min(2 * delay, LONGEST_DELAY_SECONDS)
                with self._lock:
                    self._lock.wait_for(lambda: self._closed, delay)
        except VirtmeshError:
            return
        finally:
            with self._lock:
                self._ended = True
                self._lock.notify_all()

    def _run_stream(self) -> bool:
        """Open a stream and read it to its end. Returns whether it began.

        Errors: VirtmeshError that is not retried.
        """
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
            error: VirtmeshError = DeviceLost(f"the service of {self.device} ended the stream")
        except VirtmeshError as failure:
            error = failure
        finally:
            requests.put(None)
        self._end(error, began=began)
        return began

    def _start(self) -> pb.Start:
        """Return the first request, which says where output begins."""
        start = pb.Start(watch=self._watch)
        if self._watch and self._tail is None:
            start.offset, start.epoch = self.position.offset, self.position.epoch
        elif self._watch and self._tail:
            start.tail_bytes = self._tail
        return start

    def _begin(self, snapshot: pb.Snapshot, requests: SimpleQueue[pb.OpenRequest | None]) -> None:
        """Handle the snapshot, which begins a stream. The caller holds the lock."""
        if self._opened:
            self._inbox.put(Reconnected())
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
        """Handle any other response. The caller holds the lock."""
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
        """Note that a stream ended with an error. Errors: this error, if it is not retried."""
        with self._lock:
            self._requests = self._call = None
            uncertain = self._outbox.end()
            if self._closed:
                return
            away = self._channel.presence.is_loss(error) and self._channel.presence.is_awaited
            if not (self._opened or away) or not is_retried(error):
                self._error, self._ended = error, True
                self._lock.notify_all()
                raise error
            self.gone = error.message
            if began:
                self._inbox.put(Disconnected(error.message, uncertain))
            self._lock.notify_all()


def is_retried(error: VirtmeshError) -> bool:
    """Return whether to reconnect after an error. A plain VirtmeshError is one of the transport."""
    return isinstance(error, RETRIED) or type(error) is VirtmeshError
