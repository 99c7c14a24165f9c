"""The server side of the Telnet protocol (RFC 854, 855): data, options and subnegotiations.

Clients are not trusted. Each byte is data, part of a command, or ignored. A subnegotiation is
stored up to SUBNEGOTIATION_BYTES.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SE, BRK, AYT, SB, WILL, WONT, DO, DONT, IAC = 240, 243, 246, 250, 251, 252, 253, 254, 255
BINARY, ECHO, SGA, COM_PORT = 0, 1, 3, 44
"""Options (RFC 856, 857, 858, 2217)."""
OURS = (ECHO, SGA, BINARY, COM_PORT)
"""Options that this side may enable."""
THEIRS = (SGA, BINARY, COM_PORT)
"""Options that the client may enable."""
SUBNEGOTIATION_BYTES = 256
"""Longest subnegotiation. Longer ones are ignored."""


class TelnetState(Enum):
    """State of the parser: what the next byte is."""

    DATA = auto()
    COMMAND = auto()
    """The byte after an IAC."""
    OPTION = auto()
    """The byte after WILL, WONT, DO or DONT."""
    SUB = auto()
    """A byte of a subnegotiation."""
    SUB_COMMAND = auto()
    """The byte after an IAC in a subnegotiation."""


@dataclass(frozen=True)
class BreakKey:
    """The client sent BRK: its user pressed the break key (RFC 854)."""


@dataclass(frozen=True)
class Subnegotiation:
    """A subnegotiation (RFC 855)."""

    option: int
    payload: bytes


Item = bytes | BreakKey | Subnegotiation


@dataclass
class NegotiatedOptions:
    """The options of one side."""

    known: tuple[int, ...]
    """Options that may be enabled."""
    yes: int
    """Command by which the server requests an option, or agrees to it: WILL or DO."""
    no: int
    """Command by which the server refuses an option: WONT or DONT."""
    active: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)


class Telnet:
    """The protocol on one connection. `send` sends bytes to the client."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._ours = NegotiatedOptions(OURS, WILL, WONT)
        self._theirs = NegotiatedOptions(THEIRS, DO, DONT)
        self._state = TelnetState.DATA
        self._command = 0
        self._sub = bytearray()
        self._return_seen = False
        self._return_sent = False

    def start(self) -> None:
        """Request from the client: send each character at once, in eight bits, without echo."""
        for side, option in (
            (self._ours, ECHO),
            (self._ours, SGA),
            (self._ours, BINARY),
            (self._theirs, BINARY),
        ):
            side.asked.add(option)
            self._say(side.yes, option)

    @property
    def has_com_port(self) -> bool:
        """True when both sides have agreed to use RFC 2217."""
        return COM_PORT in self._ours.active or COM_PORT in self._theirs.active

    def ask(self, option: int, payload: bytes) -> None:
        """Send a subnegotiation."""
        body = bytes([option]) + payload
        self._send(bytes([IAC, SB]) + body.replace(b"\xff", b"\xff\xff") + bytes([IAC, SE]))

    def spell(self, data: bytes) -> bytes:
        """Encode data: double each IAC, and add a NUL to a lone CR unless the mode is binary."""
        if BINARY not in self._ours.active:
            if self._return_sent and not data.startswith(b"\n"):
                data = b"\0" + data
            self._return_sent = data.endswith(b"\r")
            data = data.replace(b"\r", b"\r\0").replace(b"\r\0\n", b"\r\n")
            if self._return_sent:
                data = data[:-1]
        return data.replace(b"\xff", b"\xff\xff")

    def receive(self, data: bytes) -> Iterator[Item]:
        """Parse bytes from the client. Yields data, breaks and subnegotiations in order."""
        place = 0
        while place < len(data):
            if self._state in {TelnetState.DATA, TelnetState.SUB}:
                end = data.find(IAC, place)
                end = len(data) if end < 0 else end
                yield from self._piece(data[place:end])
                if end < len(data):
                    sub = self._state is TelnetState.SUB
                    self._state = TelnetState.SUB_COMMAND if sub else TelnetState.COMMAND
                place = end + 1
            else:
                yield from self._byte(data[place])
                place += 1

    def _piece(self, data: bytes) -> Iterator[bytes]:
        """Parse bytes without an IAC."""
        if self._state is TelnetState.SUB:
            self._collect(data)
        elif data := self._newlines(data):
            yield data

    def _collect(self, data: bytes) -> None:
        """Add to the subnegotiation, at most one byte beyond the limit: then it is ignored."""
        self._sub += data[: SUBNEGOTIATION_BYTES + 1 - len(self._sub)]

    def _newlines(self, data: bytes) -> bytes:
        """Convert the Enter key, CR NUL or CR LF, to CR unless the client's mode is binary."""
        if BINARY in self._theirs.active:
            return data
        if self._return_seen and data[:1] in {b"\0", b"\n"}:
            data = data[1:]
            self._return_seen = False
        if data:
            self._return_seen = data.endswith(b"\r")
        return data.replace(b"\r\0", b"\r").replace(b"\r\n", b"\r")

    def _byte(self, byte: int) -> Iterator[Item]:
        """Parse one byte of a command."""
        state, self._state = self._state, TelnetState.DATA
        if state is TelnetState.OPTION:
            self._negotiate(self._command, byte)
        elif state is TelnetState.SUB_COMMAND:
            yield from self._sub_byte(byte)
        elif byte == IAC:
            self._return_seen = False
            yield bytes([IAC])
        elif byte == SB:
            self._sub.clear()
            self._state = TelnetState.SUB
        elif byte in {WILL, WONT, DO, DONT}:
            self._command, self._state = byte, TelnetState.OPTION
        elif byte == BRK:
            yield BreakKey()
        elif byte == AYT:
            self._send(b"[yes]\r\n")

    def _sub_byte(self, byte: int) -> Iterator[Item]:
        """Parse the byte after an IAC in a subnegotiation: SE ends it, IAC is a byte 255 of it."""
        if byte != SE:
            self._state = TelnetState.SUB
            if byte == IAC:
                self._collect(b"\xff")
        elif 0 < len(self._sub) <= SUBNEGOTIATION_BYTES:
            yield Subnegotiation(self._sub[0], bytes(self._sub[1:]))

    def _negotiate(self, command: int, option: int) -> None:
        """Accept a known option and refuse others. Answer only if the state changes (RFC 854)."""
        side = self._ours if command in {DO, DONT} else self._theirs
        asked = option in side.asked
        side.asked.discard(option)
        if command in {DO, WILL}:
            if option not in side.known:
                self._say(side.no, option)
            elif option not in side.active:
                side.active.add(option)
                if not asked:
                    self._say(side.yes, option)
        elif option in side.active:
            side.active.discard(option)
            self._say(side.no, option)

    def _say(self, command: int, option: int) -> None:
        self._send(bytes([IAC, command, option]))
