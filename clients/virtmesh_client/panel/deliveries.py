"""What became of input events: the buffer that each took, and when the driver had it.

An input device puts each event into a buffer of its own of the event queue (virtio 1.4, 5.8.6.1).
So the recorders tell of each event when it was given to the queue, when the interrupt was raised
and arrived, and when the driver took the buffer. The driver names its events in the same order.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtmesh_client.input.models import Received
    from virtmesh_client.trace.events import Event

EVENT_QUEUE = 0
EVENT_BYTES = 8
FORGET = frozenset({"attach", "reset", "lost"})
"""After these, what was under way never ends, or its end is not seen."""
CHAINS_MAX = 1024
"""Most buffers of a device that are remembered."""
SAME_US = 250_000
"""How far the times of the driver and of its recorder may be apart for one buffer: the driver may
have had to wait for a processor in between."""
CLOSER_US = 1_000
"""A buffer whose time is closer by more than this is taken rather than the one before it."""


@dataclass(frozen=True)
class Chain:
    """A buffer that the driver took. Times are in ns of the merged clock; 0 where not seen."""

    token: int
    pushed: int
    raised: int
    arrived: int
    used: int
    used_us: int
    """The last one in us since 1970, as the driver names its events."""


class Lane:
    """The event queue of one device."""

    def __init__(self) -> None:
        self.pushed: OrderedDict[int, int] = OrderedDict()
        self.raised = self.arrived = 0
        self.chains: deque[Chain] = deque(maxlen=CHAINS_MAX)


class Deliveries:
    """Follows the buffers of all input devices. Use it from one thread at a time."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def learn(self, event: Event, time_ns: int) -> None:
        """Take an event of a recorder in."""
        device = event.source.device
        if event.kind == "push" and event.queue == EVENT_QUEUE and event.value == EVENT_BYTES:
            lane = self._lanes.setdefault(device, Lane())
            lane.pushed[event.token] = time_ns
            if len(lane.pushed) > CHAINS_MAX:
                lane.pushed.popitem(last=False)
            return
        lane_or_none = self._lanes.get(device)
        if lane_or_none is None:
            return
        lane = lane_or_none
        if event.kind in FORGET:
            self._lanes.pop(device)
        elif event.kind == "interrupt":
            lane.raised = time_ns
        elif event.kind == "irq":
            lane.arrived = time_ns
        elif event.kind == "pop_used" and event.queue == EVENT_QUEUE:
            pushed = lane.pushed.pop(event.token, 0)
            used_us = (event.time_ns + event.source.realtime_offset_ns) // 1000
            raised = lane.raised if lane.raised >= pushed else 0
            arrived = lane.arrived if lane.arrived >= pushed else 0
            chain = Chain(event.token, pushed, raised, arrived, time_ns, used_us)
            lane.chains.append(chain)

    def match(self, device: str, received: Received) -> Chain | None:
        """Return the buffer that an event came in, and forget it and those before it."""
        lane = self._lanes.get(device)
        chains = lane.chains if lane else deque()

        def distance(chain: Chain) -> int:
            return abs(chain.used_us - received.time_us)

        # Those of events from before the watch began, or that it missed, are passed over.
        while len(chains) > 1 and distance(chains[1]) + CLOSER_US < distance(chains[0]):
            chains.popleft()
        while chains and chains[0].used_us < received.time_us - SAME_US:
            chains.popleft()
        # One that is much later belongs to a later event: this one's is lost.
        return chains.popleft() if chains and distance(chains[0]) <= SAME_US else None


def spell_delivery(device: str, received: Received, chain: Chain | None) -> dict[str, Any]:
    """Spell what became of an event. Times are in us since it was given to the queue."""
    content: dict[str, Any] = {
        "device": device,
        "sequence": received.sequence,
        "time_us": received.time_us,
        "event": str(received.event),
    }
    if chain is not None and chain.pushed:
        steps = {"raised": chain.raised, "arrived": chain.arrived, "used": chain.used}
        content["buffer"] = chain.token
        content["steps"] = {
            name: (time - chain.pushed) / 1000 for name, time in steps.items() if time
        }
    return content
