"""Conversions between the messages of virtmesh.uart.v1 and the values of this library."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from virtmesh_client.serial.models import LineFormat, Lines, PortLines, SerialInfo, SerialStats
from virtmesh_common.api.uart.v1 import uart_pb2 as pb

if TYPE_CHECKING:
    from virtmesh_client.serial.models import ErrorName, FlowName

FLOWS = {"wait": pb.FLOW_WAIT, "none": pb.FLOW_NONE}
ERRORS = {
    "parity": pb.LINE_ERROR_PARITY,
    "framing": pb.LINE_ERROR_FRAMING,
    "break": pb.LINE_ERROR_BREAK,
}


def to_format(message: pb.LineFormat) -> LineFormat:
    """Return the line format."""
    return LineFormat(message.baud, message.data_bits, message.parity, message.stop_half_bits / 2)


def to_port_lines(message: pb.PortLines) -> PortLines:
    """Return the lines that the machine drives."""
    return PortLines(**{one.name: getattr(message, one.name) for one in fields(PortLines)})


def to_lines(message: pb.Lines) -> Lines:
    """Return the lines that the far end drives."""
    return Lines(**{one.name: getattr(message, one.name) for one in fields(Lines)})


def to_info(message: pb.GetInfoResponse) -> SerialInfo:
    """Return the state of a port."""
    values: dict[str, Any] = {
        "format": to_format(message.format),
        "port_lines": to_port_lines(message.port_lines),
        "lines": to_lines(message.lines),
    }
    for one in fields(SerialInfo):
        values.setdefault(one.name, getattr(message, one.name))
    return SerialInfo(**values)


def to_stats(message: pb.GetStatsResponse) -> SerialStats:
    """Return the counters of a port."""
    return SerialStats(**{one.name: getattr(message, one.name) for one in fields(SerialStats)})


def from_lines(**lines: bool | None) -> pb.Lines:
    """Return a message with the lines to set. A line that is None keeps its state."""
    return pb.Lines(**{name: value for name, value in lines.items() if value is not None})


def to_input(data: bytes, error: ErrorName | None, flow: FlowName) -> pb.Input:
    """Return a message with input for the line."""
    return pb.Input(
        data=data,
        error=ERRORS[error] if error else pb.LINE_ERROR_UNSPECIFIED,
        flow=FLOWS[flow],
    )
