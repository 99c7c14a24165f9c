"""A serial port of a machine, with blocking calls: write, read, expect, watch, send a break."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from virtmesh_client.models import SERIAL_TIMEOUT_SECONDS
from virtmesh_client.serial.codecs import from_lines, to_info, to_input, to_lines, to_stats
from virtmesh_client.serial.models import OLDEST, Gap, Output, Restarted, Sent
from virtmesh_client.serial.outbox import CHUNK_BYTES
from virtmesh_client.serial.patterns import UnmatchedText, as_list, spell
from virtmesh_client.serial.terminal import SerialTerminal
from virtmesh_client.serial.watch import SerialWatch
from virtmesh_client.streams import ignore
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import DeviceLost, DeviceNotReady, VirtmeshError
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.serial.models import (
        ErrorName,
        FlowName,
        Lines,
        Position,
        SerialEvent,
        SerialInfo,
        SerialStats,
        Wait,
    )
    from virtmesh_client.serial.outbox import Ticket
    from virtmesh_client.serial.patterns import Match, Patterns
    from virtmesh_client.streams import Progress

PROGRESS_SECONDS = 0.1
"""How often `progress` is called."""


class Serial:
    """A serial port, and a terminal of its own at the far end of the line.

    The terminal connects at the first call that needs it, or at `with`. From then on it receives
    all output of the machine; `read` and `expect` return it in order. If the connection is lost,
    the terminal reconnects by itself and continues where it was. `restarts` and `missed_bytes` show
    if that was not possible. Use an object from one thread at a time. Only `close` may be called
    from another thread; it ends a call that waits.

    `timeout` is the limit for every call that waits, in seconds; None means no limit.

    Example:
        with virtmesh_client.connect() as machine, machine.serial() as serial:
            serial.send_line("help")
            print(serial.expect("virtmesh> ").text)
    """

    def __init__(
        self,
        channel: KernelChannel,
        name: str,
        *,
        tail: int = 0,
        since: Position | None = None,
        timeout: float | None = SERIAL_TIMEOUT_SECONDS,
    ) -> None:
        self.name = name
        self.restarts = 0
        """Number of restarts of the service. `expect` continues with the new output."""
        self.missed_bytes = 0
        """Bytes that the machine sent and this terminal did not receive."""
        self._channel = channel
        self._stub = UartServiceStub(channel.grpc)
        self._tail = tail
        self._since = since
        self._timeout = timeout
        self._terminal: SerialTerminal | None = None
        self._text = UnmatchedText()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._unplug(hurry=kind is not None)

    def open(self) -> None:
        """Connect. Errors: DeviceNotFound, DeviceLost, DeviceNotReady, ServiceUnavailable."""
        self._plugged()

    def close(self) -> None:
        """Disconnect. The next call connects again, and continues where this terminal ended."""
        self._unplug(hurry=False)

    def _unplug(self, *, hurry: bool) -> None:
        """Disconnect, and keep the output that arrived. In a forked child nothing happens."""
        terminal, self._terminal = self._terminal, None
        if terminal is not None and not self._channel.forked:
            terminal.close(hurry=hurry)
            while (event := terminal.next_event(0.0)) is not None:
                self._note(event)
            self._since = terminal.position

    @property
    def position(self) -> Position:
        """Position after the last byte that arrived. Pass it as `since` to continue from here."""
        if self._terminal is None:
            return self._since or OLDEST
        return self._terminal.position

    @property
    def gone(self) -> str | None:
        """Why there is no connection at present; None while there is one."""
        return self._terminal.gone if self._terminal is not None else None

    @property
    def unmatched(self) -> bytes:
        """Output that arrived and that neither `read` nor `expect` has returned."""
        if self._terminal is not None:
            self._drain(self._plugged())
        return bytes(self._text)

    def info(self) -> SerialInfo:
        """Return the state of the port: its format, its lines, and its buffers."""
        return to_info(self._channel.ask(self._stub.GetInfo, pb.GetInfoRequest(), self.name))

    def stats(self) -> SerialStats:
        """Return the counters of the device."""
        return to_stats(self._channel.ask(self._stub.GetStats, pb.GetStatsRequest(), self.name))

    def write(
        self,
        data: bytes | str | Iterable[bytes],
        *,
        flow: FlowName = "wait",
        wait: Wait = "taken",
        timeout: float | None = None,
        progress: Progress = ignore,
    ) -> Sent:
        """Send input: bytes, text (sent as UTF-8), or an iterable of bytes.

        The call returns when all input has left the line, or with `wait="sent"` when it was sent.
        The timeout is the limit for a time without progress. `progress` is called with the number
        of characters that have left the line.

        Errors: DeviceNotReady if the machine takes no input; DeviceLost if the connection was lost.
        Both have "sent_characters", "taken_characters" and "uncertain_characters" in `metadata`.
        """
        return self._send(
            (to_input(part, None, flow) for part in input_pieces(data)), wait, timeout, progress
        )

    def send_line(
        self, text: str = "", *, end: str = "\r", wait: Wait = "taken", timeout: float | None = None
    ) -> Sent:
        """Send a line and `end`, the carriage return that the Enter key sends.

        Errors: DeviceNotReady if the machine takes no input; DeviceLost.
        """
        return self.write(text + end, wait=wait, timeout=timeout)

    def send_break(self, *, wait: Wait = "taken", timeout: float | None = None) -> Sent:
        """Send a break. Errors: DeviceNotReady if the machine takes no input; DeviceLost."""
        return self._send(iter([to_input(b"", "break", "wait")]), wait, timeout, ignore)

    def inject_error(
        self,
        error: ErrorName,
        data: bytes = b"",
        *,
        flow: FlowName = "wait",
        wait: Wait = "taken",
        timeout: float | None = None,
    ) -> Sent:
        """Send characters that each have an error. A break has no data.

        Errors: BadValue for a break with data; DeviceNotReady if the machine takes no input;
        DeviceLost.
        """
        return self._send(iter([to_input(data, error, flow)]), wait, timeout, ignore)

    def lines(self) -> Lines:
        """Return the modem lines that the far end drives."""
        return self.set_lines()

    def set_lines(
        self,
        *,
        cts: bool | None = None,
        dsr: bool | None = None,
        ri: bool | None = None,
        dcd: bool | None = None,
    ) -> Lines:
        """Set modem lines of the far end, and return all. A line that is None keeps its state."""
        request = pb.SetLinesRequest(lines=from_lines(cts=cts, dsr=dsr, ri=ri, dcd=dcd))
        return to_lines(self._channel.ask(self._stub.SetLines, request, self.name).lines)

    def read(self, size: int | None = None, *, timeout: float | None = None) -> bytes:
        """Return `size` bytes of output, or fewer after the timeout.

        Without a size, return all output that is there, or the first that arrives.
        Errors: DeviceLost if there is no output and no connection; ValueError for a negative size.
        """
        if size is not None and size < 0:
            raise ValueError(f"can't read {size} bytes: give a size of 0 or more, or none")
        wanted = 1 if size is None else size
        terminal = self._plugged()
        deadline = self._deadline(timeout)
        data = bytearray(self._text.take(len(self._text) if size is None else size))
        while len(data) < wanted and self._receive(terminal, deadline):
            data += self._text.take(len(self._text) if size is None else size - len(data))
        if wanted and not data and (gone := self.gone):
            raise DeviceLost(f"the connection to {self.name} is lost: {gone}")
        return bytes(data)

    def expect(self, patterns: Patterns, *, timeout: float | None = None) -> Match:
        """Wait until the output has a text, bytes, or a match of a compiled regular expression.

        If several patterns match, the match that begins first is returned. Output after the match
        stays for the next call. Errors: ExpectTimeout after the timeout, with the output that did
        not match; DeviceLost if there is no connection then.
        """
        wanted = as_list(patterns)
        begin = time.monotonic()
        deadline = self._deadline(timeout)
        terminal = self._plugged()
        self._drain(terminal)
        while (match := self._text.find(wanted)) is None:
            self._text.trim()
            if not self._receive(terminal, deadline):
                raise self._timeout_error(spell(wanted), time.monotonic() - begin)
            self._drain(terminal)
        return match

    def watch(self, *, tail: int = 0, since: Position | None = None) -> SerialWatch:
        """Watch the line with a separate terminal: output, gaps, restarts, lines and format.

        Begin with the last `tail` bytes of earlier output, or at the position `since`.
        """
        return SerialWatch(self._channel, self.name, tail=tail, since=since)

    def plug_in(self) -> SerialTerminal:
        """Return a new connected terminal, for a pump that copies bytes (pump.py)."""
        terminal = SerialTerminal(self._channel, self.name, tail=self._tail, since=self._since)
        terminal.open()
        return terminal

    def _plugged(self) -> SerialTerminal:
        """Return the terminal of this object, connected."""
        if self._terminal is not None and self._terminal.failed:
            self._unplug(hurry=True)
        if self._terminal is None:
            self._terminal = self.plug_in()
        return self._terminal

    def _deadline(self, timeout: float | None) -> float | None:
        """Return the time of `time.monotonic` when a call must end; None for no limit."""
        seconds = self._timeout if timeout is None else timeout
        return None if seconds is None else time.monotonic() + seconds

    def _receive(self, terminal: SerialTerminal, deadline: float | None) -> bool:
        """Receive the next event of the terminal that the call began with.

        Returns False after the deadline. Errors: VirtmeshError if the terminal was closed
        meanwhile; the error that ended the terminal.
        """
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        event = terminal.next_event(left)
        if event is not None:
            self._note(event)
        elif terminal.closed:
            raise VirtmeshError(f"the terminal of {self.name} was closed during the call")
        return event is not None

    def _note(self, event: SerialEvent) -> None:
        """Store one event."""
        if isinstance(event, Output):
            self._text.add(event.data)
        elif isinstance(event, Gap):
            self.missed_bytes += event.missed_bytes
        elif isinstance(event, Restarted):
            self.restarts += 1

    def _drain(self, terminal: SerialTerminal) -> None:
        """Receive the events that are there, until there is enough text for a search."""
        while not self._text.full and self._receive(terminal, 0.0):
            pass

    def _timeout_error(self, wanted: str, seconds: float) -> Exception:
        """Return the error of an `expect` that timed out."""
        text = self._text.shown()
        gone = self.gone
        if gone:
            return DeviceLost(
                f"the connection to {self.name} is lost: {gone}; {wanted} did not match its output"
                f" before: {text}"
            )
        return ExpectTimeout(
            f"{self.name} did not send {wanted} within {seconds:.3g} s; its output since the last"
            f" match: {text}",
            seconds=f"{seconds:.3f}",
        )

    def _send(
        self,
        messages: Iterator[pb.Input],
        wait: Wait,
        timeout: float | None,
        progress: Progress,
    ) -> Sent:
        """Send messages, and wait as `wait` says."""
        seconds = self._timeout if timeout is None else timeout
        terminal = self._plugged()
        ticket = terminal.ticket()
        try:
            for message in messages:
                if not terminal.send(ticket, message, seconds):
                    raise self._not_taken_error(terminal, ticket)
                self._check(terminal, ticket)
                progress(max(0, terminal.settled - ticket.start))
            if wait == "taken":
                self._settle(terminal, ticket, seconds, progress)
        finally:
            terminal.drop(ticket)
        characters = ticket.end - ticket.start
        return Sent(characters, wait, terminal.overrun - ticket.overrun_before)

    def _settle(
        self, terminal: SerialTerminal, ticket: Ticket, seconds: float | None, progress: Progress
    ) -> None:
        """Wait until all input of a call has left the line. Errors: DeviceNotReady; DeviceLost."""
        deadline = self._deadline(seconds)
        while True:
            before = terminal.settled
            left = None if deadline is None else deadline - time.monotonic()
            step = PROGRESS_SECONDS if left is None else min(PROGRESS_SECONDS, max(0.0, left))
            done = terminal.wait(lambda: terminal.settled >= ticket.end, step)
            self._check(terminal, ticket)
            progress(min(terminal.settled, ticket.end) - ticket.start)
            if done:
                return
            if terminal.settled > before:
                deadline = self._deadline(seconds)
            elif left is not None and left <= 0:
                raise self._not_taken_error(terminal, ticket)

    def _check(self, terminal: SerialTerminal, ticket: Ticket) -> None:
        """Check that no input of the call was under way when a connection was lost.

        Errors: DeviceLost; the error that ended the terminal.
        """
        if ticket.uncertain:
            if terminal.failed:
                terminal.wait(lambda: False, None)
            now = terminal.gone or "it is connected again"
            raise add_input_report(
                DeviceLost(f"the connection to {self.name} was lost during the write: {now}"),
                terminal,
                ticket,
            )

    def _not_taken_error(self, terminal: SerialTerminal, ticket: Ticket) -> Exception:
        """Return the error of a write without progress."""
        if terminal.gone:
            lost = DeviceLost(f"the connection to {self.name} is lost: {terminal.gone}")
            return add_input_report(lost, terminal, ticket)
        why = "its driver does not read, or no driver is attached"
        unread = DeviceNotReady(f"{self.name} takes no input: {why}")
        return add_input_report(unread, terminal, ticket)


def add_input_report(
    error: DeviceLost | DeviceNotReady, terminal: SerialTerminal, ticket: Ticket
) -> Exception:
    """Add a report of a call's characters to an error: `metadata` and a note."""
    taken = max(0, min(terminal.settled, ticket.end) - ticket.start - ticket.uncertain)
    sent = ticket.end - ticket.start
    error.metadata |= {
        "sent_characters": str(sent),
        "taken_characters": str(taken),
        "uncertain_characters": str(ticket.uncertain),
    }
    error.add_note(
        f"{taken} of {sent} characters were taken, {ticket.uncertain} more may have been taken"
    )
    return error


def input_pieces(data: bytes | str | Iterable[bytes]) -> Iterator[bytes]:
    """Yield input in pieces that fit into one message."""
    if isinstance(data, str):
        data = data.encode()
    for one in [data] if isinstance(data, (bytes, bytearray, memoryview)) else data:
        view = memoryview(one).cast("B")
        for start in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[start : start + CHUNK_BYTES])
