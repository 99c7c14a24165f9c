"""Serial ports: write, read, expect, watch; consoles, pseudo-terminals, RFC 2217.

with virtmesh_client.connect() as machine, machine.serial("serial") as serial:
    serial.send_line("help")
    print(serial.expect("virtmesh> ").text)
"""

from virtmesh_client.serial.device import Serial
from virtmesh_client.serial.models import (
    OLDEST,
    Back,
    Event,
    Gap,
    Gone,
    LineFormat,
    Lines,
    Output,
    PortLines,
    Position,
    Restarted,
    Sent,
    SerialInfo,
    SerialStats,
)
from virtmesh_client.serial.patterns import Match
from virtmesh_client.serial.watch import SerialWatch

__all__ = [
    "OLDEST",
    "Back",
    "Event",
    "Gap",
    "Gone",
    "LineFormat",
    "Lines",
    "Match",
    "Output",
    "PortLines",
    "Position",
    "Restarted",
    "Sent",
    "Serial",
    "SerialInfo",
    "SerialStats",
    "SerialWatch",
]
