"""The com port control option (RFC 2217), the access server's side.

The client's port is the far end of the machine's line, so lines cross as in a null modem: its RTS
is the machine's CTS, its DTR the machine's DSR and DCD; and the machine's RTS is its CTS, the
machine's DTR its DSR and CD. Baud rate and format of the far end are kept and told, and change
nothing: a virtual line has those that the driver has set.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from virtmesh_common import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.serial.models import LineFormat, PortLines

ANSWER = 100
"""What the server adds to the code of a command."""


class Command(IntEnum):
    """What a client asks for (RFC 2217, section 3)."""

    SIGNATURE = 0
    SET_BAUDRATE = 1
    SET_DATASIZE = 2
    SET_PARITY = 3
    SET_STOPSIZE = 4
    SET_CONTROL = 5
    NOTIFY_LINESTATE = 6
    NOTIFY_MODEMSTATE = 7
    FLOWCONTROL_SUSPEND = 8
    FLOWCONTROL_RESUME = 9
    SET_LINESTATE_MASK = 10
    SET_MODEMSTATE_MASK = 11
    PURGE_DATA = 12


BAUD_BYTES = 4
PARITIES = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
STOPS = {1.0: 1, 2.0: 2, 1.5: 3}
PURGE_RECEIVED, PURGE_BOTH = 1, 3

# SET_CONTROL asks for one of four settings, or sets one: {value: (setting, new value)}.
ASK = {0: "flow", 4: "break", 7: "dtr", 10: "rts", 13: "flow_in"}
SET: dict[int, tuple[str, int]] = {
    **{value: ("flow", value) for value in (1, 2, 3, 17, 19)},
    **{value: ("flow_in", value) for value in (14, 15, 16, 18)},
    5: ("break", 5), 6: ("break", 6),
    8: ("dtr", 8), 9: ("dtr", 9),
    11: ("rts", 11), 12: ("rts", 12),
}  # fmt: skip
ON = {5, 8, 11}
"""Values that turn something on."""

CTS, DSR, CD = 0x10, 0x20, 0x80
"""Bits of the modem state; each has its change four bits below."""
BREAK_DETECTED = 0x10
"""Bit of the line state."""


class Port(Protocol):
    """What the commands act on."""

    def set_lines(self, *, cts: bool | None = None, dsr: bool | None = None) -> None:
        """Set lines of the machine; DCD goes with DSR."""

    def send_break(self) -> None:
        """Send a break."""

    def purge(self) -> None:
        """Drop output that the client has not been sent."""

    def suspend(self, *, suspended: bool) -> None:
        """Send no more output, or go on."""


@dataclass
class Line:
    """How the client's end is set, in the option's own numbers."""

    baud: int
    data_bits: int
    parity: int
    stop: int


class ComPort:
    """The state of one client's port. `answer` takes the code and payload of what it is told."""

    def __init__(self, port: Port, answer: Callable[[int, bytes], object]) -> None:
        self._port = port
        self._answer = answer
        self._line = Line(9600, 8, PARITIES["N"], STOPS[1.0])
        self._begun = False
        self._control = {"flow": 1, "flow_in": 14, "break": 6, "dtr": 8, "rts": 11}
        self._line_mask = 0
        self._modem_mask = 0xFF
        self._modem = 0
        self._breaking = False

    def start_with(self, line_format: LineFormat) -> None:
        """Begin with the format of the machine's port; what the client sets after that stays."""
        if not self._begun:
            self._begun = True
            self._line = Line(
                line_format.baud,
                line_format.data_bits,
                PARITIES.get(line_format.parity, 1),
                STOPS.get(line_format.stop_bits, 1),
            )

    def obey(self, payload: bytes) -> None:
        """Do what a client asks for; what makes no sense is ignored."""
        if not payload:
            return
        code, value = payload[0], payload[1:]
        if code == Command.SIGNATURE:
            if not value:
                self._answer(code + ANSWER, f"virtmesh {__version__}".encode())
        elif code == Command.SET_BAUDRATE and len(value) == BAUD_BYTES:
            self._line.baud = int.from_bytes(value, "big") or self._line.baud
            self._answer(code + ANSWER, self._line.baud.to_bytes(BAUD_BYTES, "big"))
        elif code == Command.FLOWCONTROL_SUSPEND:
            self._port.suspend(suspended=True)
        elif code == Command.FLOWCONTROL_RESUME:
            self._port.suspend(suspended=False)
        elif len(value) == 1:
            self._obey_byte(code, value[0])

    def _obey_byte(self, code: int, value: int) -> None:
        """Do what a command of one byte asks for."""
        match code:
            case Command.SET_DATASIZE:
                self._line.data_bits = self._choose(code, value, range(5, 9), self._line.data_bits)
            case Command.SET_PARITY:
                self._line.parity = self._choose(code, value, range(1, 6), self._line.parity)
            case Command.SET_STOPSIZE:
                self._line.stop = self._choose(code, value, range(1, 4), self._line.stop)
            case Command.SET_CONTROL:
                self._set_control(value)
            case Command.NOTIFY_LINESTATE:
                self._answer(code + ANSWER, bytes([BREAK_DETECTED * self._breaking]))
            case Command.NOTIFY_MODEMSTATE:
                self.tell_modem()
            case _:
                self._obey_and_repeat(code, value)

    def _obey_and_repeat(self, code: int, value: int) -> None:
        """Do what is answered by its own value."""
        match code:
            case Command.SET_LINESTATE_MASK:
                self._line_mask = value
            case Command.SET_MODEMSTATE_MASK:
                self._modem_mask = value
            case Command.PURGE_DATA:
                if value in {PURGE_RECEIVED, PURGE_BOTH}:
                    self._port.purge()
            case _:
                return
        self._answer(code + ANSWER, bytes([value]))

    def _choose(self, code: int, value: int, allowed: range, now: int) -> int:
        """Take a value that there is, or keep the one before; tell which."""
        chosen = value if value in allowed else now
        self._answer(code + ANSWER, bytes([chosen]))
        return chosen

    def _set_control(self, value: int) -> None:
        """Tell or set flow control, break, DTR, RTS."""
        if value in SET:
            setting, self._control[SET[value][0]] = SET[value]
            if setting == "dtr":
                self._port.set_lines(dsr=value in ON)
            elif setting == "rts":
                self._port.set_lines(cts=value in ON)
            elif setting == "break" and value in ON:
                self._port.send_break()
            self._answer(Command.SET_CONTROL + ANSWER, bytes([value]))
        elif value in ASK:
            self._answer(Command.SET_CONTROL + ANSWER, bytes([self._control[ASK[value]]]))

    def tell_modem(self) -> None:
        """Tell the client how the lines of the machine stand."""
        self._answer(Command.NOTIFY_MODEMSTATE + ANSWER, bytes([self._modem & self._modem_mask]))

    def notify(self, lines: PortLines) -> None:
        """Tell the client which lines of the machine have moved, if it wants to know."""
        state = CTS * lines.rts | (DSR | CD) * lines.dtr
        changed, self._modem = state ^ self._modem, state
        if (changed | changed >> 4) & self._modem_mask:
            told = (state | changed >> 4) & self._modem_mask
            self._answer(Command.NOTIFY_MODEMSTATE + ANSWER, bytes([told]))
        if lines.break_sent and not self._breaking and self._line_mask & BREAK_DETECTED:
            self._answer(Command.NOTIFY_LINESTATE + ANSWER, bytes([BREAK_DETECTED]))
        self._breaking = lines.break_sent
