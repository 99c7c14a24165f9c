"""Copies bytes in both directions between a serial terminal and files: a tty, a pty or a socket.

Two threads do it. The caller of `run` receives events and writes to the files; a second thread
reads input from the files. Each can end the other: `FilePair.end` ends a wait for files, and
`SerialTerminal.close` ends a wait for the line.
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

    from virtmesh_client.serial.models import ErrorName, SerialEvent
    from virtmesh_client.serial.terminal import SerialTerminal

READ_BYTES = 64 << 10
PIECE_BYTES = select.PIPE_BUF
"""A file that poll reports as writable takes at least so many bytes without blocking."""
HANG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL


class FilePair:
    """A file that input is read from, a file that output is written to, and a way to end waits.

    A negative `source` means that there is no input.
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
        """End all waits, now and later. Any thread may call this."""
        self._ended = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b"\0")

    def close(self) -> None:
        """Close the descriptors that this object opened. No thread may be waiting."""
        os.close(self._woken)
        os.close(self._wake)

    def read(self) -> bytes:
        """Wait for input. Returns b"" at its end and after `end`. Errors: OSError."""
        while not self._ended and self._source >= 0:
            if self.ready(self._source, select.POLLIN):
                with contextlib.suppress(BlockingIOError):
                    return os.read(self._source, READ_BYTES)
        return b""

    def write(self, data: bytes) -> None:
        """Write all data, or stop after `end`. Errors: OSError, such as BrokenPipeError."""
        view = memoryview(data)
        while view and not self._ended:
            if self.ready(self._target, select.POLLOUT):
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._target, view[:PIECE_BYTES]) :]

    def ready(self, file: int, what: int, seconds: float | None = None) -> int:
        """Wait for poll events (`what`) of a file. Returns them; 0 after `end` or `seconds`."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if file >= 0:
            poll.register(file, what)
        found = poll.poll(None if seconds is None else seconds * 1000)
        return next((events for one, events in found if one == file), 0)

    def pause(self, seconds: float) -> None:
        """Wait for a time, or until `end`."""
        self.ready(-1, 0, seconds)


class Pump:
    """Copies bytes until either side ends. Subclasses decide what happens with each event."""

    def __init__(self, terminal: SerialTerminal, files: FilePair) -> None:
        self.terminal = terminal
        self.files = files
        self._ticket = terminal.ticket()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Copy until the end. Errors: OSError of the files; VirtmeshError of the terminal."""
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

    def events(self) -> Iterator[SerialEvent]:
        """Yield the events of the line until `stop`."""
        while (event := self.terminal.next_event()) is not None and not self.files.ended:
            yield event

    def take(self, event: SerialEvent) -> None:
        """Handle an event of the line."""
        raise NotImplementedError

    def give(self, data: bytes) -> None:
        """Handle input from the files."""
        self.send(data)

    def finish(self) -> None:
        """Handle the end of the input."""
        self.stop()

    def send(self, data: bytes, error: ErrorName | None = None) -> None:
        """Send input to the machine. Waits while there is no room for it."""
        self.terminal.send(self._ticket, to_input(data, error, "wait"))

    def stop(self) -> None:
        """End the pump. Both of its threads may call this."""
        self.files.end()
        self.terminal.finish()

    def settled(self, seconds: float) -> bool:
        """Wait until all input has left the line. Returns False after `seconds`."""
        deadline = time.monotonic() + seconds
        return self.terminal.wait(
            lambda: self.terminal.settled >= self._ticket.end, max(0.0, deadline - time.monotonic())
        )

    def _read(self) -> None:
        """Copy input until its end."""
        try:
            while data := self.files.read():
                self.give(data)
            self.finish()
        except BaseException as error:  # noqa: BLE001 - raised where the pump runs
            if not (self.files.ended and isinstance(error, VirtmeshError)):
                self._error = error
            self.stop()
