"""Serial ports: write, read, expect and watch; consoles, pseudo-terminals and RFC 2217 servers.

with virtmesh_client.connect() as machine, machine.serial("serial") as serial:
    serial.send_line("help")
    print(serial.expect("virtmesh> ").text)
"""

from virtmesh_client.serial.device import Serial
from virtmesh_client.serial.models import (
    OLDEST,
    Disconnected,
    Gap,
    LineFormat,
    Lines,
    Output,
    PortLines,
    Position,
    Reconnected,
    Restarted,
    Sent,
    SerialEvent,
    SerialInfo,
    SerialStats,
)
from virtmesh_client.serial.patterns import Match
from virtmesh_client.serial.watch import SerialWatch

__all__ = [
    "OLDEST",
    "Disconnected",
    "Gap",
    "LineFormat",
    "Lines",
    "Match",
    "Output",
    "PortLines",
    "Position",
    "Reconnected",
    "Restarted",
    "Sent",
    "Serial",
    "SerialEvent",
    "SerialInfo",
    "SerialStats",
    "SerialWatch",
]
