"""Events of a device's dialogue that rules are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh_common.errors import RegisterError
    from virtmesh_common.registers import Register


@dataclass(frozen=True, slots=True)
class Access:
    """A register access: executed, or refused with `error`. `register` is None where none is."""

    register: Register | None
    offset: int
    width: int
    is_write: bool
    value: int
    error: RegisterError | None = None

    @property
    def text(self) -> str:
        """What the driver did, in words."""
        if self.error is not None:
            return self.error.message
        name = self.register.name if self.register else f"{self.offset:#05x}"
        return f"{self.value:#x} was written to {name}" if self.is_write else f"{name} was read"


@dataclass(frozen=True, slots=True)
class ReservedWrite:
    """A write that was executed and set reserved bits, which were ignored."""

    register: Register
    offset: int
    width: int
    value: int

    @property
    def text(self) -> str:
        """What the driver did, in words."""
        bits = self.value & self.register.reserved_bits
        return f"{self.value:#x} was written to {self.register.name}; {bits:#x} is reserved"


@dataclass(frozen=True, slots=True)
class RingFlags:
    """The flags of a split queue's rings, read from guest memory: when it is set up and stopped.

    `used` is None unless the queue is set up with an empty available ring: later the flags of the
    used ring are the device's.
    """

    queue: int
    available: int
    used: int | None = None
    event_idx: bool = False
    """VIRTIO_F_EVENT_IDX is negotiated."""

    @property
    def allowed(self) -> int:
        """The one flag that the driver may set in the available ring: none with EVENT_IDX."""
        return 0 if self.event_idx else 1

    @property
    def text(self) -> str:
        """What the driver did, in words."""
        used = "" if self.used is None else f", those of its used ring {self.used:#x}"
        return f"queue {self.queue}: the flags of its available ring are {self.available:#x}{used}"


@dataclass(frozen=True, slots=True)
class Overrun:
    """A character was written to a serial port that had no room for it."""

    text = "THR was written while the transmitter was full"


Event = Access | ReservedWrite | RingFlags | Overrun
