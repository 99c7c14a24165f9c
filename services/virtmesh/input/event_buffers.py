"""The driver's buffers for events, and how long to wait for more before a packet is split.

When is a packet written? Let `held` be the buffers at hand, and `room` how many the driver is taken
to post at once: the largest size of its queue at first; once it has shown that it posts fewer, the
most that it held ready. The packet that waits longest is written

- whole, when it is not longer than `held`;
- in parts, as buffers come, when it is longer than `room`: waiting for more would be in vain;
- not yet, when it is longer than `held` but not than `room`: the rest of the buffers is on its way.

The last case ends, whatever the driver does. Each buffer it posts brings `held` nearer to `room`;
when it posts none for as long as `patience` says, `give_up_waiting` makes `held` the new `room`,
and the packet is longer than that. With no buffer at hand nothing can be done: a driver SHOULD keep
the queue populated (5.8.6.1). So there is no state in which the device waits for a driver that
waits for the device.

A chain whose buffers break 5.8.6.1 (fewer than 8 writable bytes, or a readable one) is malformed:
it is counted and given back with length 0. The ring itself is sound, so no reset is needed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh_common.input.spec import EVENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.virtio.queue_device import Chain, ServedQueue

FIRST_PATIENCE_S = 0.05
"""How long to wait for buffers that the driver may be about to post for the first time."""
PATIENCE_S = 5.0
"""How long to wait for as many buffers as the driver once posted: it may just be stopped."""


class EventBuffers:
    """The buffers of one driver, each for one event. Its queue has at most `size_max` entries.

    Errors of every method that takes chains: RingCorrupt.
    """

    def __init__(self, queue: ServedQueue, size_max: int) -> None:
        self.queue = queue
        self._held: deque[Chain] = deque()
        self._room = size_max
        self._most = 0
        """The most buffers that the driver held ready."""

    @property
    def held(self) -> int:
        """Buffers at hand."""
        return len(self._held)

    def take(self, limit: int) -> int:
        """Take available chains, at most so many; return how many there were."""
        taken, size, pop, hold = 0, EVENT.size, self.queue.pop, self._held.append
        while taken < limit and (chain := pop()) is not None:
            taken += 1
            if chain.readable or chain.writable_bytes < size:
                self.queue.refuse(
                    chain,
                    f"a buffer for an event has {EVENT.size} writable bytes or more and none that"
                    f" are readable (5.8.6.1); this one has {chain.writable_bytes} and"
                    f" {chain.readable_bytes}",
                    "input-event-buffer",
                )
            else:
                hold(chain)
        self._most = max(self._most, self.held)
        self._room = max(self._room, self.held)
        return taken

    def share(self, events: int, *, begun: bool) -> int:
        """Return how many of the events that are left of a packet to write now.

        `begun` is true for a packet of which the driver has a part.
        """
        if events <= self.held:
            return events
        wait = not begun and events <= self._room
        return 0 if wait else self.held

    def write(self, events: Sequence[bytes]) -> None:
        """Put events into as many buffers, which must be held, and give these back."""
        take = self._held.popleft
        for event in events:
            chain = take()
            chain.push(chain.write(event))

    def patience(self, events: int) -> float | None:
        """Return how long a packet of so many events waits for another buffer, in seconds.

        None when no buffer is at hand: waiting has no end then.
        """
        if not self._held:
            return None
        return PATIENCE_S if events <= self._most else FIRST_PATIENCE_S

    def give_up_waiting(self) -> None:
        """Take the buffers at hand for all that the driver posts at once."""
        self._room = self._most = self.held
