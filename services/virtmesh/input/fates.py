"""What faults on demand do to packets on their way into the waiting room (virtmesh.fault.v1)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from virtmesh_common.fault.words import KINDS

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

DROPPED, DOUBLED = KINDS["dropped-packet"], KINDS["doubled-packet"]
SWAPPED = KINDS["swapped-packet"]
NEXT_SECONDS = 1.0
"""How long a packet that is to come after the next one waits for that one."""


class Fated(Protocol):
    """A packet."""

    events: Sequence[bytes]
    is_dropped: bool
    """True if it is not to reach the driver."""


Packet = TypeVar("Packet", bound=Fated)


@dataclass
class Fates(Generic[Packet]):
    """Puts packets into a room, as the faults have it that `take_fault` says the numbers of."""

    take_fault: Callable[[], int]
    look: Callable[[], None]
    """Has the room looked at."""
    _aside: Packet | None = None
    """Comes after the next one."""
    _timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    def put(self, room: deque[Packet], packet: Packet) -> int:
        """Put a packet in; return how many events it has more than it had."""
        kind, before = self.take_fault(), len(packet.events)
        packet.is_dropped = kind == DROPPED
        if kind == DOUBLED:
            packet.events = [*packet.events, *packet.events]
        if kind == SWAPPED and self._aside is None:
            self._aside = packet
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(NEXT_SECONDS, self._give_up, room)
            return 0
        room.append(packet)
        self._put_aside_in(room)
        return len(packet.events) - before

    def _give_up(self, room: deque[Packet]) -> None:
        """Wait no more for the next packet."""
        self._put_aside_in(room)
        self.look()

    def _put_aside_in(self, room: deque[Packet]) -> None:
        """Put the packet in that comes after the one that was put in last."""
        aside, self._aside = self._aside, None
        if aside is not None:
            room.append(aside)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
