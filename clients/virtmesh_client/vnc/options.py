"""How viewers are served."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("virtmesh_client.vnc")
HANDSHAKE_SECONDS = 30.0
MESSAGE_SECONDS = 30.0
STALL_SECONDS = 30.0


@dataclass(frozen=True)
class VncOptions:
    """What a viewer gets, and how long it may take."""

    scanout: int = 0
    """Which screen of the GPU."""
    password: bytes | None = None
    """What VNC authentication asks for, 1 to 8 bytes; None: it asks for nothing."""
    keyboard: str | None = None
    """The input device that gets keys; None: the first keyboard of the machine."""
    pointer: str | None = None
    """The input device that the pointer moves; None: the first tablet, or else the first mouse."""
    layout: str = "us"
    """The guest's keyboard layout, for viewers that send characters in place of keys."""
    view_only: bool = False
    """True to throw away what the viewer types, points at, and resizes."""
    updates_per_second: int = 60
    """Most updates that a viewer is sent, 1 or more."""
    handshake_seconds: float = HANDSHAKE_SECONDS
    """How long a stranger may take until its session begins."""
    message_seconds: float = MESSAGE_SECONDS
    """How long a message may take that has begun."""
    stall_seconds: float = STALL_SECONDS
    """How long a viewer may take for the next 64 KiB of an update."""
    tell: Callable[[str], None] = LOGGER.info
    """Gets lines of text about what happens to the session."""
