"""A trace as ui.perfetto.dev opens it (https://perfetto.dev/docs/reference/synthetic-track-event).

Each device is a group of tracks: what its driver does, what the device does, its registers, and
for each queue its chains and how many are in flight. A chain is a slice from `add` to `pop_used`;
in it is one for the device, from `pop` to `push`, and in that one the request. Chains overlap,
slices of a track may not: each queue has as many tracks of one name as it takes, which are shown as
one. Arrows lead from notifying to being notified, and from raising an interrupt to its arrival.

Events are written as they come; what is kept is what is in flight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from virtmesh_client.trace.events import ALWAYS, GROUPS
from virtmesh_client.trace.merge import Clock

if TYPE_CHECKING:
    from virtmesh_client.trace.decode import Spelled
    from virtmesh_client.trace.events import Event

SEQUENCE_ID = 1
"""All packets are of one writer."""
TIME_MAX = (1 << 63) - 1
"""Latest time that the viewer takes, in ns; a saved trace can say anything."""
FLIGHTS_MAX = 65_536
"""Most chains that are open at a time; more are shown as instants."""
FLOWS_MAX = 64
"""Most notifications of a queue that lead to one arrival."""

CHAIN, DEVICE, REQUEST = "chain", "device", "request"
"""The slices of a chain, from the outermost to the innermost."""

QueueKey = tuple[str, int]
ChainKey = tuple[str, int, int]


class Binary(Protocol):
    """What a trace is written to."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


@dataclass
class Lane:
    """A track of a queue: it takes one chain at a time."""

    track: int


@dataclass
class Flight:
    """A chain that is open: its lane, and its open slices, outermost first."""

    lane: Lane
    open: list[str] = field(default_factory=list)


class PerfettoWriter:
    """Writes a trace as it comes. Call `finish` at the end."""

    def __init__(self, file: Binary) -> None:
        self._builder = StreamingTraceProtoBuilder(file)
        self._clock = Clock()
        self._tracks: dict[tuple[str, str], int] = {}
        self._uuid = 0
        self._flow = 0
        self._now = 0
        self._begun = False
        self._flights: dict[ChainKey, Flight] = {}
        self._free: dict[QueueKey, list[Lane]] = {}
        self._in_flight: dict[QueueKey, int] = {}
        self._sent: dict[tuple[str, str], list[int]] = {}
        """Flows that have begun, by device and by what they lead to."""

    def add(self, event: Event, spelled: Spelled) -> None:
        """Write an event. Events come in order of time."""
        self._now = min(max(self._now, self._clock.time(event)), TIME_MAX)
        if not self._begun:
            self._begin(event)
        if event.kind in GROUPS["queue"] + GROUPS["request"]:
            self._chain_event(event, spelled)
            return
        flows, ends = self._flows(event)
        if event.kind in {"attach", "detach", *ALWAYS}:
            self._end_chains(event.source.device)
        self._instant(event, spelled, flows, ends)

    def finish(self) -> None:
        """Close the slices of what is still in flight."""
        for key in list(self._flights):
            self._unwind(key, CHAIN, {"unfinished": "the trace ends here"})

    def _begin(self, event: Event) -> None:
        """Write the packet that ties times to the time of day."""
        self._begun = True
        packet = self._packet()
        packet.sequence_flags = pb.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        offset = event.source.realtime_offset_ns
        snapshot = packet.clock_snapshot
        snapshot.clocks.add(clock_id=pb.BUILTIN_CLOCK_BOOTTIME, timestamp=self._now)
        if 0 < self._now + offset <= TIME_MAX:
            snapshot.clocks.add(clock_id=pb.BUILTIN_CLOCK_REALTIME, timestamp=self._now + offset)
        self._builder.write_packet(packet)

    def _chain_event(self, event: Event, spelled: Spelled) -> None:
        """Open or close slices of a chain."""
        key = (event.source.device, event.queue, event.token)
        name = f"#{event.token}"
        if event.kind == "add":
            self._unwind(key, CHAIN, {"unfinished": "added again"})
            self._open(key, CHAIN, name, {"descriptors": event.value, "bytes": event.extra})
            self._count(key, 1)
        elif event.kind == "pop":
            self._unwind(key, DEVICE, {"unfinished": "taken again"})
            self._open(key, DEVICE, f"{name} device", {"descriptors": event.value})
        elif event.kind == "request_start" and key in self._flights:
            title = spelled.text.partition(f"{name} ")[2] or spelled.text
            self._open(key, REQUEST, title, {"first sector": event.value, "bytes": event.extra})
        elif event.kind == "request_end":
            self._unwind(key, REQUEST, {"status": event.value})
        elif event.kind == "request_held":
            self._unwind(key, REQUEST, {"held": event.value})
        elif event.kind == "push":
            self._unwind(key, DEVICE, {"written bytes": event.value})
        elif event.kind == "pop_used":
            if key in self._flights and self._flights[key].open[0] == CHAIN:
                self._count(key, -1)
            self._unwind(key, CHAIN, {"written bytes": event.value})

    def _open(self, key: ChainKey, level: str, name: str, facts: dict[str, int | str]) -> None:
        """Open a slice of a chain, on a lane of its queue."""
        flight = self._flights.get(key)
        if flight is None:
            if len(self._flights) >= FLIGHTS_MAX:
                return
            flight = self._flights[key] = Flight(self._take_lane(key[:2]))
        flight.open.append(level)
        packet = self._track_event(flight.lane.track, pb.TrackEvent.TYPE_SLICE_BEGIN, facts)
        packet.track_event.name = name
        self._builder.write_packet(packet)

    def _unwind(self, key: ChainKey, level: str, facts: dict[str, int | str]) -> None:
        """Close slices of a chain, from the innermost on, up to a level that is open.

        The outermost level that there is counts as CHAIN: where the driver's side is missing in the
        trace, it is DEVICE.
        """
        flight = self._flights.get(key)
        if flight is None or (level != CHAIN and level not in flight.open):
            return
        while flight.open:
            closed = flight.open.pop()
            last = closed == level or not flight.open
            kind = pb.TrackEvent.TYPE_SLICE_END
            packet = self._track_event(flight.lane.track, kind, facts if last else {})
            self._builder.write_packet(packet)
            if closed == level:
                break
        if not flight.open:
            del self._flights[key]
            self._free.setdefault(key[:2], []).append(flight.lane)

    def _end_chains(self, device: str) -> None:
        """Close every chain of a device: their ends will not be seen."""
        for key in [key for key in self._flights if key[0] == device]:
            self._unwind(key, CHAIN, {"unfinished": "the dialogue broke off"})
        for queue, count in list(self._in_flight.items()):
            if queue[0] == device and count:
                self._count((*queue, 0), -count)

    def _count(self, key: ChainKey, step: int) -> None:
        """Write how many chains of a queue are in flight."""
        device, queue, _ = key
        count = self._in_flight[device, queue] = self._in_flight.get((device, queue), 0) + step
        track = self._track(device, f"queue {queue} in flight", counter=True)
        packet = self._track_event(track, pb.TrackEvent.TYPE_COUNTER, {})
        packet.track_event.counter_value = count
        self._builder.write_packet(packet)

    def _flows(self, event: Event) -> tuple[list[int], list[int]]:
        """Return the flows that an event begins, and those that it ends."""
        device, driver = event.source.device, event.source.side == "driver"
        if event.kind == "notify":
            where = f"notify {event.queue}"
            begins = driver
        elif event.kind in {"interrupt", "irq"}:
            where = "interrupt"
            begins = event.kind == "interrupt"
        else:
            return [], []
        sent = self._sent.setdefault((device, where), [])
        if not begins:
            ends, sent[:] = list(sent), []
            return [], ends
        self._flow += 1
        sent.append(self._flow)
        del sent[:-FLOWS_MAX]
        return [self._flow], []

    def _instant(self, event: Event, spelled: Spelled, flows: list[int], ends: list[int]) -> None:
        """Write an event that is no slice."""
        name = "registers" if event.kind in GROUPS["register"] else event.source.side
        facts: dict[str, int | str] = {"sequence": event.sequence}
        if spelled.register:
            facts |= {"register": spelled.register, "value": event.value}
        if event.text:
            facts["text"] = event.text
        track = self._track(event.source.device, name)
        packet = self._track_event(track, pb.TrackEvent.TYPE_INSTANT, facts)
        packet.track_event.name = spelled.text
        packet.track_event.flow_ids.extend(flows)
        packet.track_event.terminating_flow_ids.extend(ends)
        self._builder.write_packet(packet)

    def _take_lane(self, queue: QueueKey) -> Lane:
        """Return a lane of a queue that is free."""
        free = self._free.setdefault(queue, [])
        if free:
            return free.pop()
        device, index = queue
        parent = self._process(device)
        return Lane(self._describe(parent, f"queue {index}"))

    def _track(self, device: str, name: str, *, counter: bool = False) -> int:
        """Return a track of a device."""
        key = (device, name)
        if key not in self._tracks:
            self._tracks[key] = self._describe(self._process(device), name, counter=counter)
        return self._tracks[key]

    def _process(self, device: str) -> int:
        """Return the group of a device: Perfetto groups tracks by process."""
        key = (device, "")
        if key not in self._tracks:
            packet = self._packet()
            self._uuid += 1
            packet.track_descriptor.uuid = self._uuid
            packet.track_descriptor.process.pid = self._uuid
            packet.track_descriptor.process.process_name = device
            self._builder.write_packet(packet)
            self._tracks[key] = self._uuid
        return self._tracks[key]

    def _describe(self, parent: int, name: str, *, counter: bool = False) -> int:
        """Write the description of a track, and return its identifier."""
        packet = self._packet()
        self._uuid += 1
        packet.track_descriptor.uuid = self._uuid
        packet.track_descriptor.parent_uuid = parent
        packet.track_descriptor.name = name
        if counter:
            packet.track_descriptor.counter.unit = pb.CounterDescriptor.UNIT_COUNT
        self._builder.write_packet(packet)
        return self._uuid

    def _track_event(self, track: int, kind: Any, facts: dict[str, int | str]) -> pb.TracePacket:
        """Make a packet of an event that happens now."""
        packet = self._packet()
        packet.track_event.track_uuid = track
        packet.track_event.type = kind
        for name, value in facts.items():
            note = packet.track_event.debug_annotations.add(name=name)
            if isinstance(value, int):
                note.uint_value = value
            else:
                note.string_value = value
        return packet

    def _packet(self) -> pb.TracePacket:
        """Make a packet of now."""
        packet = self._builder.create_packet()
        packet.timestamp = self._now
        packet.trusted_packet_sequence_id = SEQUENCE_ID
        return packet
