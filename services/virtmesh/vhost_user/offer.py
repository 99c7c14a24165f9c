"""What a device service offers to its vhost-user front ends."""

from __future__ import annotations

from dataclasses import dataclass

from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX


@dataclass(frozen=True)
class Offer:
    """What front ends may use."""

    in_band: bool = False
    """In-band notifications."""
    memory_max_bytes: int = GUEST_MEMORY_MAX
    """Most memory that a front end may share."""
