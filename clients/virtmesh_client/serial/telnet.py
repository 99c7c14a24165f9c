"""The telnet protocol (RFC 854, 855), a server's side: data, options, subnegotiations.

What a client sends is hostile until parsed: whatever comes in is data, a command or ignored, and
nothing that is collected grows beyond SUBNEGOTIATION_BYTES.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SE, BRK, AYT, SB, WILL, WONT, DO, DONT, IAC = 240, 243, 246, 250, 251, 252, 253, 254, 255
BINARY, ECHO, SGA, COM_PORT = 0, 1, 3, 44
"""Options: RFC 856, 857, 858, 2217."""
OURS = (ECHO, SGA, BINARY, COM_PORT)
"""Options that this side may do."""
THEIRS = (SGA, BINARY, COM_PORT)
"""Options that the client may do."""
SUBNEGOTIATION_BYTES = 256
"""Longest subnegotiation that is looked at."""


class State(Enum):
    """Where in the protocol the next byte is."""

    DATA = auto()
    COMMAND = auto()
    """Behind an IAC."""
    OPTION = auto()
    """Behind WILL, WONT, DO or DONT."""
    SUB = auto()
    """In a subnegotiation."""
    SUB_COMMAND = auto()
    """Behind an IAC in one."""


@dataclass(frozen=True)
class Break:
    """The client's break key (RFC 854)."""


@dataclass(frozen=True)
class Asked:
    """A subnegotiation."""

    option: int
    payload: bytes


Item = bytes | Break | Asked


@dataclass
class Options:
    """What one side does."""

    known: tuple[int, ...]
    yes: int
    """How this side asks for it, or agrees."""
    no: int
    active: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)


class Telnet:
    """One connection. `send` takes what goes to the client."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._ours = Options(OURS, WILL, WONT)
        self._theirs = Options(THEIRS, DO, DONT)
        self._state = State.DATA
        self._command = 0
        self._sub = bytearray()
        self._return_seen = False
        self._return_sent = False

    def start(self) -> None:
        """Ask for characters as they are typed, and for eight bits."""
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
        """True when the client speaks RFC 2217."""
        return COM_PORT in self._ours.active or COM_PORT in self._theirs.active

    def ask(self, option: int, payload: bytes) -> None:
        """Send a subnegotiation."""
        body = bytes([option]) + payload
        self._send(bytes([IAC, SB]) + body.replace(b"\xff", b"\xff\xff") + bytes([IAC, SE]))

    def spell(self, data: bytes) -> bytes:
        """Return data as it is sent: IAC doubled, and a NUL behind a lone CR unless binary."""
        if BINARY not in self._ours.active:
            if self._return_sent and not data.startswith(b"\n"):
                data = b"\0" + data
            self._return_sent = data.endswith(b"\r")
            data = data.replace(b"\r", b"\r\0").replace(b"\r\0\n", b"\r\n")
            if self._return_sent:
                data = data[:-1]
        return data.replace(b"\xff", b"\xff\xff")

    def receive(self, data: bytes) -> Iterator[Item]:
        """Take what the client sent; yields data, breaks and subnegotiations in order."""
        place = 0
        while place < len(data):
            if self._state in {State.DATA, State.SUB}:
                end = data.find(IAC, place)
                end = len(data) if end < 0 else end
                yield from self._piece(data[place:end])
                if end < len(data):
                    sub = self._state is State.SUB
                    self._state = State.SUB_COMMAND if sub else State.COMMAND
                place = end + 1
            else:
                yield from self._byte(data[place])
                place += 1

    def _piece(self, data: bytes) -> Iterator[bytes]:
        """Take bytes without an IAC."""
        if self._state is State.SUB:
            self._collect(data)
        elif data := self._newlines(data):
            yield data

    def _collect(self, data: bytes) -> None:
        """Add to the subnegotiation; what is too long is kept too long, to be ignored."""
        self._sub += data[: SUBNEGOTIATION_BYTES + 1 - len(self._sub)]

    def _newlines(self, data: bytes) -> bytes:
        """Make the Enter key of a client that is not binary, CR NUL or CR LF, a CR."""
        if BINARY in self._theirs.active:
            return data
        if self._return_seen and data[:1] in {b"\0", b"\n"}:
            data = data[1:]
            self._return_seen = False
        if data:
            self._return_seen = data.endswith(b"\r")
        return data.replace(b"\r\0", b"\r").replace(b"\r\n", b"\r")

    def _byte(self, byte: int) -> Iterator[Item]:
        """Take one byte of a command."""
        state, self._state = self._state, State.DATA
        if state is State.OPTION:
            self._negotiate(self._command, byte)
        elif state is State.SUB_COMMAND:
            yield from self._sub_byte(byte)
        elif byte == IAC:
            self._return_seen = False
            yield bytes([IAC])
        elif byte == SB:
            self._sub.clear()
            self._state = State.SUB
        elif byte in {WILL, WONT, DO, DONT}:
            self._command, self._state = byte, State.OPTION
        elif byte == BRK:
            yield Break()
        elif byte == AYT:
            self._send(b"[yes]\r\n")

    def _sub_byte(self, byte: int) -> Iterator[Item]:
        """Take one byte behind an IAC in a subnegotiation: its end, or an IAC of its content."""
        if byte != SE:
            self._state = State.SUB
            if byte == IAC:
                self._collect(b"\xff")
        elif 0 < len(self._sub) <= SUBNEGOTIATION_BYTES:
            yield Asked(self._sub[0], bytes(self._sub[1:]))

    def _negotiate(self, command: int, option: int) -> None:
        """Agree to what is known; answer only what changes something (RFC 854)."""
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
