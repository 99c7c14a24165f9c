"""Carries bytes both ways between a terminal and files of this host: a window, a pty, a socket.

Two threads: who calls `run` takes events and writes, a second one reads input. Each can end the
other: `Files.end` ends waits for files, `Terminal.close` waits for the line.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING

from virtmesh_client.serial.codecs import to_input
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.serial.models import ErrorName, Event
    from virtmesh_client.serial.terminal import Terminal

READ_BYTES = 64 << 10
PIECE_BYTES = select.PIPE_BUF
"""What a file that is ready to be written takes without waiting."""
HANG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Files:
    """Where input comes from and output goes, and a way to end waits for them.

    A negative source is one that has ended.
    """

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._ended = False

    @property
    def ended(self) -> bool:
        """True after `end`."""
        return self._ended

    def end(self) -> None:
        """End every wait, from now on."""
        self._ended = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"\0")

    def close(self) -> None:
        """Close what this object opened; nobody waits any more."""
        os.close(self._woken)
        os.close(self._wake)

    def read(self) -> bytes:
        """Wait for input; nothing when it ends, or the wait does. Errors: OSError."""
        while not self._ended and self._source >= 0:
            if self.ready(self._source, select.POLLIN):
                with contextlib.suppress(BlockingIOError):
                    return os.read(self._source, READ_BYTES)
        return b""

    def write(self, data: bytes) -> None:
        """Write all of it, unless the wait is ended. Errors: OSError, such as BrokenPipeError."""
        view = memoryview(data)
        while view and not self._ended:
            if self.ready(self._target, select.POLLOUT):
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._target, view[:PIECE_BYTES]) :]

    def ready(self, file: int, what: int, seconds: float | None = None) -> int:
        """Wait for a file; returns what it is ready for (poll), 0 when the wait ended."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if file >= 0:
            poll.register(file, what)
        found = poll.poll(None if seconds is None else seconds * 1000)
        return next((events for one, events in found if one == file), 0)

    def pause(self, seconds: float) -> None:
        """Wait a while, or until the wait is ended."""
        self.ready(-1, 0, seconds)


class Pump:
    """Carries bytes until either side ends. What else it does is for subclasses."""

    def __init__(self, terminal: Terminal, files: Files) -> None:
        self.terminal = terminal
        self.files = files
        self._ticket = terminal.ticket()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Carry. Errors: OSError of the files; what ended the terminal for good."""
        reader = threading.Thread(target=self._read, name="virtmesh-pump", daemon=True)
        reader.start()
        hurry = True
        try:
            for event in self.events():
                self.take(event)
            hurry = False
        finally:
            self.files.end()
            self.terminal.close(hurry=hurry)
            reader.join()
        if self._error is not None:
            raise self._error

    def events(self) -> Iterator[Event]:
        """Yield what happens, until `stop`."""
        while (event := self.terminal.next_event()) is not None and not self.files.ended:
            yield event

    def take(self, event: Event) -> None:
        """Take what happened on the line."""
        raise NotImplementedError

    def give(self, data: bytes) -> None:
        """Take input from the files."""
        self.send(data)

    def finish(self) -> None:
        """Take the end of the input."""
        self.stop()

    def send(self, data: bytes, error: ErrorName | None = None) -> None:
        """Send input to the machine; it waits while there is no room."""
        self.terminal.send(self._ticket, to_input(data, error, "wait"))

    def stop(self) -> None:
        """End the pump, from any of its threads."""
        self.files.end()
        self.terminal.finish()

    def settled(self, seconds: float) -> bool:
        """Wait until all input has left the line; False when the time is over before."""
        deadline = time.monotonic() + seconds
        return self.terminal.wait(
            lambda: self.terminal.settled >= self._ticket.end, max(0.0, deadline - time.monotonic())
        )

    def _read(self) -> None:
        """Carry input."""
        try:
            while data := self.files.read():
                self.give(data)
            self.finish()
        except BaseException as error:  # noqa: BLE001 - raised where the pump runs
            if not (self.files.ended and isinstance(error, VirtmeshError)):
                self._error = error
            self.stop()
