"""What an input device is made of, and the features that it offers."""

from __future__ import annotations

from dataclasses import dataclass

from virtmesh_common.virtio.features import TRANSPORT_FEATURES

QUEUE_SIZE = 64
"""Default of queue_size: as many buffers as Linux posts."""
WAITING = 4096
"""Default of waiting, in packets."""
OFFERED = TRANSPORT_FEATURES
"""Features of every input device; it has none of its own (5.8.3)."""


@dataclass(frozen=True)
class InputOptions:
    """What an input device is made of.

    `personality` is a name or the path of a file, `name_text` the name that the driver reads (that
    of the personality if it is empty), `queue_size` in entries, `waiting` in packets; `without` has
    the bits of features that it does not offer.
    """

    personality: str
    serial: str = ""
    name_text: str = ""
    queue_size: int = QUEUE_SIZE
    waiting: int = WAITING
    without: int = 0
