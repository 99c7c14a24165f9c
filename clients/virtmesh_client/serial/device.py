"""One serial port of a machine, blocking: write, read, expect, watch, break, lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from virtmesh_client.blk.transfer import ignore
from virtmesh_client.serial.codecs import from_lines, to_info, to_input, to_lines, to_stats
from virtmesh_client.serial.models import OLDEST, Gap, Output, Restarted, Sent
from virtmesh_client.serial.outbox import CHUNK_BYTES
from virtmesh_client.serial.patterns import Unmatched, as_list, spell
from virtmesh_client.serial.terminal import Terminal
from virtmesh_client.serial.watch import SerialWatch
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import DeviceLost, DeviceNotReady, VirtmeshError
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.blk.transfer import Progress
    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.serial.models import (
        ErrorName,
        Event,
        FlowName,
        Lines,
        Position,
        SerialInfo,
        SerialStats,
        Wait,
    )
    from virtmesh_client.serial.outbox import Ticket
    from virtmesh_client.serial.patterns import Match, Patterns

TIMEOUT_SECONDS = 30.0
"""How long a call waits, unless told otherwise."""
PROGRESS_SECONDS = 0.1
"""How often progress is told."""


class Serial:
    """A serial port, and one terminal at the far end of its line.

    The terminal is plugged in by the first call that needs it, or by `with`; from then on nothing
    that the machine sends is missed: `read` and `expect` take it in order. When the connection or
    the service goes away it comes back by itself, and goes on where it was; `restarts` and
    `missed_bytes` tell when that was not possible. Use one object from one thread at a time;
    `close` may be called from another, and ends the call that waits.

    `timeout`, in seconds, limits every call that waits; None is for ever.
    """

    def __init__(
        self,
        channel: KernelChannel,
        name: str,
        *,
        tail: int = 0,
        since: Position | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> None:
        self.name = name
        self.restarts = 0
        """How often the service began a new life; `expect` goes on with its new text."""
        self.missed_bytes = 0
        """Bytes that the machine sent and this terminal did not get."""
        self._channel = channel
        self._stub = UartServiceStub(channel.grpc)
        self._tail = tail
        self._since = since
        self._timeout = timeout
        self._terminal: Terminal | None = None
        self._text = Unmatched()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._unplug(hurry=kind is not None)

    def open(self) -> None:
        """Plug in. Errors: DeviceNotFound, DeviceLost, DeviceNotReady, ServiceUnavailable."""
        self._plugged()

    def close(self) -> None:
        """Unplug. The next call plugs in again, and goes on where this terminal ended."""
        self._unplug(hurry=False)

    def _unplug(self, *, hurry: bool) -> None:
        """Unplug; what arrived is kept."""
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            terminal.close(hurry=hurry)
            while (event := terminal.next_event(0.0)) is not None:
                self._note(event)
            self._since = terminal.position

    @property
    def position(self) -> Position:
        """Behind the last byte that arrived: `since` of a terminal that goes on from here."""
        if self._terminal is None:
            return self._since or OLDEST
        return self._terminal.position

    @property
    def gone(self) -> str | None:
        """Why the port can't be reached now; None while it can."""
        return self._terminal.gone if self._terminal is not None else None

    @property
    def unmatched(self) -> bytes:
        """What arrived, and neither `read` nor `expect` has taken."""
        if self._terminal is not None:
            self._drain(self._plugged())
        return bytes(self._text)

    def info(self) -> SerialInfo:
        """Say how the port is set, and how its lines stand."""
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
        """Send input: bytes, text (as UTF-8), or an iterable of bytes.

        It returns when all of it has left the line, or with `wait="sent"` when it is on its way;
        the timeout is for each step forward. Errors: DeviceNotReady when the machine takes nothing;
        DeviceLost when the service went away: `metadata` says what was taken, what is uncertain.
        """
        return self._send(
            (to_input(part, None, flow) for part in parts(data)), wait, timeout, progress
        )

    def send_line(
        self, text: str = "", *, end: str = "\r", wait: Wait = "taken", timeout: float | None = None
    ) -> Sent:
        """Send a line as a person does: with the carriage return of the Enter key."""
        return self.write(text + end, wait=wait, timeout=timeout)

    def send_break(self, *, wait: Wait = "taken", timeout: float | None = None) -> Sent:
        """Send a break."""
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
        """Send characters with an error; a break takes no data. Errors: BadValue; as `write`."""
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
        """Set modem lines of the far end; those that are None stay. Returns all of them."""
        request = pb.SetLinesRequest(lines=from_lines(cts=cts, dsr=dsr, ri=ri, dcd=dcd))
        return to_lines(self._channel.ask(self._stub.SetLines, request, self.name).lines)

    def read(self, size: int | None = None, *, timeout: float | None = None) -> bytes:
        """Return `size` bytes, fewer when the time is over; without a size what is there, or comes.

        Errors: DeviceLost when nothing came since the service is gone; ValueError: a negative size.
        """
        if size is not None and size < 0:
            raise ValueError(f"{size} bytes can't be read: ask for 0 or more, or for no size")
        wanted = 1 if size is None else size
        terminal = self._plugged()
        deadline = self._deadline(timeout)
        data = bytearray(self._text.take(len(self._text) if size is None else size))
        while len(data) < wanted and self._receive(terminal, deadline):
            data += self._text.take(len(self._text) if size is None else size - len(data))
        if wanted and not data and (gone := self.gone):
            raise DeviceLost(f"{self.name} is gone: {gone}")
        return bytes(data)

    def expect(self, patterns: Patterns, *, timeout: float | None = None) -> Match:
        """Wait until the machine sends a text, bytes or a match of a compiled regular expression.

        Of several patterns the one that begins first is taken. What is behind the match stays for
        the next call. Errors: ExpectTimeout, with the text that did not match; DeviceLost when the
        time is over and the service is gone.
        """
        wanted = as_list(patterns)
        begin = time.monotonic()
        deadline = self._deadline(timeout)
        terminal = self._plugged()
        self._drain(terminal)
        while (match := self._text.find(wanted)) is None:
            self._text.trim()
            if not self._receive(terminal, deadline):
                raise self._unmet(spell(wanted), time.monotonic() - begin)
            self._drain(terminal)
        return match

    def watch(self, *, tail: int = 0, since: Position | None = None) -> SerialWatch:
        """Follow the line by a terminal of its own: output, gaps, restarts, lines, format."""
        return SerialWatch(self._channel, self.name, tail=tail, since=since)

    def plug_in(self) -> Terminal:
        """Return a new terminal at the far end, plugged in, for who carries bytes (pump.py)."""
        terminal = Terminal(self._channel, self.name, tail=self._tail, since=self._since)
        terminal.open()
        return terminal

    def _plugged(self) -> Terminal:
        """Return the terminal of this object, plugged in."""
        if self._terminal is not None and self._terminal.failed:
            self._unplug(hurry=True)
        if self._terminal is None:
            self._terminal = self.plug_in()
        return self._terminal

    def _deadline(self, timeout: float | None) -> float | None:
        """Return when a call has waited long enough."""
        seconds = self._timeout if timeout is None else timeout
        return None if seconds is None else time.monotonic() + seconds

    def _receive(self, terminal: Terminal, deadline: float | None) -> bool:
        """Take the next event of the terminal that the call began with; False: the time is over.

        Errors: VirtmeshError when it was closed meanwhile; what ended it.
        """
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        event = terminal.next_event(left)
        if event is not None:
            self._note(event)
        elif terminal.closed:
            raise VirtmeshError(f"the terminal of {self.name} was closed meanwhile")
        return event is not None

    def _note(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, Output):
            self._text.add(event.data)
        elif isinstance(event, Gap):
            self.missed_bytes += event.missed_bytes
        elif isinstance(event, Restarted):
            self.restarts += 1

    def _drain(self, terminal: Terminal) -> None:
        """Take what is there, as much as is searched at once."""
        while not self._text.full and self._receive(terminal, 0.0):
            pass

    def _unmet(self, wanted: str, seconds: float) -> Exception:
        """Return the error of an `expect` whose time is over."""
        text = self._text.shown()
        gone = self.gone
        if gone:
            return DeviceLost(f"{self.name} is gone: {gone}; {wanted} did not come before: {text}")
        return ExpectTimeout(
            f"{self.name} did not send {wanted} within {seconds:.3g} s; what it sent and nothing"
            f" matched: {text}",
            seconds=f"{seconds:.3f}",
        )

    def _send(
        self,
        messages: Iterator[pb.Input],
        wait: Wait,
        timeout: float | None,
        progress: Progress,
    ) -> Sent:
        """Send messages, and wait as asked."""
        seconds = self._timeout if timeout is None else timeout
        terminal = self._plugged()
        ticket = terminal.ticket()
        try:
            for message in messages:
                if not terminal.send(ticket, message, seconds):
                    raise self._stuck(terminal, ticket)
                self._check(terminal, ticket)
                progress(max(0, terminal.settled - ticket.start))
            if wait == "taken":
                self._settle(terminal, ticket, seconds, progress)
        finally:
            terminal.drop(ticket)
        characters = ticket.end - ticket.start
        return Sent(characters, wait, terminal.overrun - ticket.overrun_before)

    def _settle(
        self, terminal: Terminal, ticket: Ticket, seconds: float | None, progress: Progress
    ) -> None:
        """Wait until all of a call has left the line. Errors: as `write`."""
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
                raise self._stuck(terminal, ticket)

    def _check(self, terminal: Terminal, ticket: Ticket) -> None:
        """Refuse to go on behind characters whose fate is unknown.

        Errors: DeviceLost; what ended the terminal.
        """
        if ticket.uncertain:
            if terminal.failed:
                terminal.wait(lambda: False, None)
            now = terminal.gone or "it is back"
            raise told(
                DeviceLost(f"{self.name} went away while it was written to: {now}"),
                terminal,
                ticket,
            )

    def _stuck(self, terminal: Terminal, ticket: Ticket) -> Exception:
        """Return the error of a machine that takes nothing."""
        if terminal.gone:
            return told(DeviceLost(f"{self.name} is gone: {terminal.gone}"), terminal, ticket)
        why = "its driver does not read, or none is attached"
        return told(DeviceNotReady(f"{self.name} takes no input: {why}"), terminal, ticket)


def told(error: DeviceLost | DeviceNotReady, terminal: Terminal, ticket: Ticket) -> Exception:
    """Tell an error what became of a call's characters."""
    taken = max(0, min(terminal.settled, ticket.end) - ticket.start - ticket.uncertain)
    sent = ticket.end - ticket.start
    error.metadata |= {
        "sent_characters": str(sent),
        "taken_characters": str(taken),
        "uncertain_characters": str(ticket.uncertain),
    }
    error.add_note(f"{taken} of {sent} characters were taken, {ticket.uncertain} may have been")
    return error


def parts(data: bytes | str | Iterable[bytes]) -> Iterator[bytes]:
    """Cut input into what fits one message."""
    if isinstance(data, str):
        data = data.encode()
    for one in [data] if isinstance(data, (bytes, bytearray, memoryview)) else data:
        view = memoryview(one).cast("B")
        for start in range(0, len(view), CHUNK_BYTES):
            yield bytes(view[start : start + CHUNK_BYTES])
