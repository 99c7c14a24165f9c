"""Messages of virtmesh.uart.v1, parsed into the values of the line, and made from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from virtmesh.uart.port import FarLines, Flow, LineError, LineFormat, PortLines
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.errors import BadValue

INPUT_LIMIT = 64 << 10
"""Most bytes of input in one message (uart.proto)."""

ERRORS = {
    pb.LINE_ERROR_UNSPECIFIED: LineError.NONE,
    pb.LINE_ERROR_PARITY: LineError.PARITY,
    pb.LINE_ERROR_FRAMING: LineError.FRAMING,
    pb.LINE_ERROR_BREAK: LineError.BREAK,
}
FLOWS = {pb.FLOW_UNSPECIFIED: Flow.WAIT, pb.FLOW_WAIT: Flow.WAIT, pb.FLOW_NONE: Flow.NONE}


@dataclass(frozen=True)
class Sending:
    """Input for the line, checked."""

    data: bytes
    error: LineError
    flow: Flow

    @property
    def characters(self) -> int:
        """Number of characters on the line. A break counts as one."""
        return 1 if self.error is LineError.BREAK else len(self.data)


def parse_input(message: pb.Input) -> Sending:
    """Parse input and check it. Errors: BadValue."""
    error, flow, data = ERRORS.get(message.error), FLOWS.get(message.flow), message.data
    if error is None or flow is None:
        raise BadValue(
            f"error {message.error} or flow {message.flow} is unknown: use those of uart.proto"
        )
    if len(data) > INPUT_LIMIT:
        raise BadValue(f"a message holds {len(data)} bytes of input: send at most {INPUT_LIMIT}")
    if error is LineError.BREAK and data:
        raise BadValue(f"a break came with {len(data)} bytes of data: send it without data")
    if error in {LineError.PARITY, LineError.FRAMING} and not data:
        raise BadValue(
            f"a {error.name.lower()} error came without data: send the characters that have it"
        )
    return Sending(data, error, flow)


def change_lines(lines: FarLines, message: pb.Lines) -> FarLines:
    """Return lines with the changes of a message. A line that is absent from it stays."""
    return replace(lines, **{field.name: value for field, value in message.ListFields()})


def spell_lines(lines: FarLines) -> pb.Lines:
    """Return a message with all lines that the far end drives."""
    return pb.Lines(cts=lines.cts, dsr=lines.dsr, ri=lines.ri, dcd=lines.dcd)


def spell_port_lines(lines: PortLines) -> pb.PortLines:
    """Return a message with the lines that the machine drives."""
    return pb.PortLines(
        dtr=lines.dtr,
        rts=lines.rts,
        out1=lines.out1,
        out2=lines.out2,
        break_sent=lines.break_sent,
    )


def spell_format(line_format: LineFormat) -> pb.LineFormat:
    """Return a message with the format that the driver has set."""
    return pb.LineFormat(
        baud=line_format.baud,
        data_bits=line_format.data_bits,
        parity=line_format.parity,
        stop_half_bits=line_format.stop_half_bits,
    )
