"""The settings of an input device, and the features that it offers."""

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
    """The settings of an input device.

    `personality` is a name or the path of a file. `name_text` is the name that the driver reads; if
    it is empty, the personality's. `queue_size` is in entries, `waiting` in packets. `without` has
    the feature bits that the device does not offer.
    """

    personality: str
    serial: str = ""
    name_text: str = ""
    queue_size: int = QUEUE_SIZE
    waiting: int = WAITING
    without: int = 0
