"""A request that a disk failed, and why: what the status byte (virtio 1.4, 5.2.6) can't say."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "UNKNOWN"
"""The cause of a failure that nobody could be asked about."""


@dataclass(frozen=True)
class RequestFailure:
    """One failed request. `cause` is the name of an errno, or one of the words of the proto."""

    number: int
    """Counts failures of a disk, from 1."""
    type: str
    """Name of the type, without VIRTIO_BLK_T_."""
    sector: int
    bytes: int
    status_address: int
    """Guest physical address of its status byte: no other request in flight has the same."""
    cause: str
    errno: int
    """Number of the system's error; 0 if it was none."""
    text: str
    """What happened, for people."""
