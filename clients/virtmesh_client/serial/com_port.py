"""The server side of the Telnet com port control option (RFC 2217).

The client's port is the far end of the machine's line, so the lines are crossed as in a null modem.
The client's RTS is the machine's CTS, and its DTR is the machine's DSR and DCD. The machine's RTS
is the client's CTS, and its DTR is the client's DSR and CD. The client can set baud rate and format
and read them back, but they have no effect: a virtual line always uses those of the driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from virtmesh_common import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.serial.models import LineFormat, PortLines

RESPONSE_OFFSET = 100
"""The code of a response is the code of its command plus this."""


class ComPortCommand(IntEnum):
    """Command codes (RFC 2217, section 3)."""

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

# SET_CONTROL either queries a setting, {value: setting}, or sets it, {value: (setting, new value)}.
CONTROL_QUERIES = {0: "flow", 4: "break", 7: "dtr", 10: "rts", 13: "flow_in"}
CONTROL_SETTINGS: dict[int, tuple[str, int]] = {
    **{value: ("flow", value) for value in (1, 2, 3, 17, 19)},
    **{value: ("flow_in", value) for value in (14, 15, 16, 18)},
    5: ("break", 5), 6: ("break", 6),
    8: ("dtr", 8), 9: ("dtr", 9),
    11: ("rts", 11), 12: ("rts", 12),
}  # fmt: skip
SWITCHED_ON = {5, 8, 11}
"""Values that switch a break or a line on."""

CTS, DSR, CD = 0x10, 0x20, 0x80
"""Bits of the modem state. The bit four places lower says that the line changed."""
BREAK_DETECTED = 0x10
"""Bit of the line state."""


class PortActions(Protocol):
    """The actions that commands need."""

    def set_lines(self, *, cts: bool | None = None, dsr: bool | None = None) -> None:
        """Set lines of the machine. DCD gets the state of DSR."""

    def send_break(self) -> None:
        """Send a break to the machine."""

    def purge(self) -> None:
        """Drop output that was not sent to the client yet."""

    def suspend(self, *, suspended: bool) -> None:
        """Suspend or resume the output to the client."""


@dataclass
class LineSettings:
    """Baud rate and format that the client has set, as numbers of RFC 2217."""

    baud: int
    data_bits: int
    parity: int
    stop: int


class ComPort:
    """The port of one client. `answer(code, payload)` sends a response to the client."""

    def __init__(self, port: PortActions, answer: Callable[[int, bytes], object]) -> None:
        self._port = port
        self._answer = answer
        self._line = LineSettings(9600, 8, PARITIES["N"], STOPS[1.0])
        self._begun = False
        self._control = {"flow": 1, "flow_in": 14, "break": 6, "dtr": 8, "rts": 11}
        self._line_mask = 0
        self._modem_mask = 0xFF
        self._modem = 0
        self._breaking = False

    def start_with(self, line_format: LineFormat) -> None:
        """Take the format of the machine's port, the first time. After that the client sets it."""
        if not self._begun:
            self._begun = True
            self._line = LineSettings(
                line_format.baud,
                line_format.data_bits,
                PARITIES.get(line_format.parity, 1),
                STOPS.get(line_format.stop_bits, 1),
            )

    def handle_command(self, payload: bytes) -> None:
        """Execute a command of the client. An invalid one is ignored."""
        if not payload:
            return
        code, value = payload[0], payload[1:]
        if code == ComPortCommand.SIGNATURE:
            if not value:
                self._answer(code + RESPONSE_OFFSET, f"virtmesh {__version__}".encode())
        elif code == ComPortCommand.SET_BAUDRATE and len(value) == BAUD_BYTES:
            self._line.baud = int.from_bytes(value, "big") or self._line.baud
            self._answer(code + RESPONSE_OFFSET, self._line.baud.to_bytes(BAUD_BYTES, "big"))
        elif code == ComPortCommand.FLOWCONTROL_SUSPEND:
            self._port.suspend(suspended=True)
        elif code == ComPortCommand.FLOWCONTROL_RESUME:
            self._port.suspend(suspended=False)
        elif len(value) == 1:
            self._handle_byte(code, value[0])

    def _handle_byte(self, code: int, value: int) -> None:
        """Execute a command with a value of one byte."""
        match code:
            case ComPortCommand.SET_DATASIZE:
                self._line.data_bits = self._choose(code, value, range(5, 9), self._line.data_bits)
            case ComPortCommand.SET_PARITY:
                self._line.parity = self._choose(code, value, range(1, 6), self._line.parity)
            case ComPortCommand.SET_STOPSIZE:
                self._line.stop = self._choose(code, value, range(1, 4), self._line.stop)
            case ComPortCommand.SET_CONTROL:
                self._set_control(value)
            case ComPortCommand.NOTIFY_LINESTATE:
                self._answer(code + RESPONSE_OFFSET, bytes([BREAK_DETECTED * self._breaking]))
            case ComPortCommand.NOTIFY_MODEMSTATE:
                self.send_modem_state()
            case _:
                self._handle_echoed(code, value)

    def _handle_echoed(self, code: int, value: int) -> None:
        """Execute a command whose response repeats its value."""
        match code:
            case ComPortCommand.SET_LINESTATE_MASK:
                self._line_mask = value
            case ComPortCommand.SET_MODEMSTATE_MASK:
                self._modem_mask = value
            case ComPortCommand.PURGE_DATA:
                if value in {PURGE_RECEIVED, PURGE_BOTH}:
                    self._port.purge()
            case _:
                return
        self._answer(code + RESPONSE_OFFSET, bytes([value]))

    def _choose(self, code: int, value: int, allowed: range, now: int) -> int:
        """Return the value if it is allowed, else the present one; send the result."""
        chosen = value if value in allowed else now
        self._answer(code + RESPONSE_OFFSET, bytes([chosen]))
        return chosen

    def _set_control(self, value: int) -> None:
        """Query or set flow control, break, DTR or RTS."""
        if value in CONTROL_SETTINGS:
            setting, self._control[CONTROL_SETTINGS[value][0]] = CONTROL_SETTINGS[value]
            if setting == "dtr":
                self._port.set_lines(dsr=value in SWITCHED_ON)
            elif setting == "rts":
                self._port.set_lines(cts=value in SWITCHED_ON)
            elif setting == "break" and value in SWITCHED_ON:
                self._port.send_break()
            self._answer(ComPortCommand.SET_CONTROL + RESPONSE_OFFSET, bytes([value]))
        elif value in CONTROL_QUERIES:
            self._answer(
                ComPortCommand.SET_CONTROL + RESPONSE_OFFSET,
                bytes([self._control[CONTROL_QUERIES[value]]]),
            )

    def send_modem_state(self) -> None:
        """Send the state of the machine's lines to the client."""
        self._answer(
            ComPortCommand.NOTIFY_MODEMSTATE + RESPONSE_OFFSET,
            bytes([self._modem & self._modem_mask]),
        )

    def send_line_changes(self, lines: PortLines) -> None:
        """Send changes of the machine's lines to the client, as far as its masks allow."""
        state = CTS * lines.rts | (DSR | CD) * lines.dtr
        changed, self._modem = state ^ self._modem, state
        if (changed | changed >> 4) & self._modem_mask:
            reported = (state | changed >> 4) & self._modem_mask
            self._answer(ComPortCommand.NOTIFY_MODEMSTATE + RESPONSE_OFFSET, bytes([reported]))
        if lines.break_sent and not self._breaking and self._line_mask & BREAK_DETECTED:
            self._answer(ComPortCommand.NOTIFY_LINESTATE + RESPONSE_OFFSET, bytes([BREAK_DETECTED]))
        self._breaking = lines.break_sent
