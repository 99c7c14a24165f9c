"""What the supervisor and its template tell each other: JSON in packets of a unix socket.

`Preload`, `UseLog` and `Start` go to the template, the last two with a log file as a descriptor.
It answers a `Start` with `Started`, which has a pidfd of the service, or with `Refused`. `Ended`
follows when the service has ended. A packet that can't be read is a fault of ours: both ends are
one version.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

PACKET_MAX = 1 << 17
"""Most bytes of a packet: the command line of a service is shorter."""


@dataclass(frozen=True)
class Preload:
    """Import these kinds of devices."""

    kinds: list[str]


@dataclass(frozen=True)
class UseLog:
    """Write to the log whose descriptor comes along: what the template itself has to say."""


@dataclass(frozen=True)
class Start:
    """Fork, and run `main()` of a module as a program with these arguments."""

    module: str
    program: str
    arguments: list[str]


@dataclass(frozen=True)
class Started:
    """The service runs."""

    pid: int


@dataclass(frozen=True)
class Refused:
    """The host gave no process."""

    why: str


@dataclass(frozen=True)
class Ended:
    """A service has ended: its exit status, negative for a signal."""

    pid: int
    status: int


Packet = Preload | UseLog | Start | Started | Refused | Ended
_TYPES: dict[str, type[Packet]] = {
    one.__name__: one for one in (Preload, UseLog, Start, Started, Refused, Ended)
}


def encode(packet: Packet) -> bytes:
    """Return a packet as bytes. Errors: ValueError when it is longer than PACKET_MAX."""
    data = json.dumps({"packet": type(packet).__name__} | asdict(packet)).encode()
    if len(data) > PACKET_MAX:
        raise ValueError(f"a command line of {len(data)} bytes is longer than {PACKET_MAX}")
    return data


def decode(data: bytes) -> Packet:
    """Return the packet that bytes are."""
    content = json.loads(data)
    return _TYPES[content.pop("packet")](**content)
