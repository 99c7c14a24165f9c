"""Traces for Perfetto, read back with Perfetto's own message classes."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.support.trace_events import DEVICE, DRIVER, OFFSET_NS, Tape, block_write, source
from virtmesh_client.trace.decode import Decoder
from virtmesh_client.trace.events import Event
from virtmesh_client.trace.perfetto import PerfettoWriter

BEGIN, END = pb.TrackEvent.TYPE_SLICE_BEGIN, pb.TrackEvent.TYPE_SLICE_END


@dataclass
class Slice:
    """A slice as the viewer shows it."""

    name: str
    begin: int
    depth: int
    facts: dict[str, Any]
    end: int = -1


@dataclass
class View:
    """A trace as the viewer sees it; making one checks the rules that every trace has to keep."""

    names: dict[int, str] = field(default_factory=dict)
    slices: dict[str, list[Slice]] = field(default_factory=lambda: defaultdict(list))
    instants: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counters: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    flows: list[tuple[str, str]] = field(default_factory=list)


def facts_of(event: Any) -> dict[str, Any]:
    """Return the arguments of an event."""
    notes = event.debug_annotations
    return {note.name: getattr(note, note.WhichOneof("value")) for note in notes}


def view(data: bytes) -> View:
    """Read a trace: tracks are described before they are used, slices nest, flows have begun."""
    trace = pb.Trace.FromString(data)
    seen = View()
    open_slices: dict[int, list[Slice]] = defaultdict(list)
    times: dict[int, int] = defaultdict(int)
    begun: dict[int, str] = {}
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("track_descriptor"):
            about = packet.track_descriptor
            assert about.uuid not in seen.names
            group = seen.names[about.parent_uuid] + " " if about.parent_uuid else ""
            seen.names[about.uuid] = group + (about.name or about.process.process_name)
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        track, name = event.track_uuid, seen.names[event.track_uuid]
        assert packet.timestamp >= times[track]
        times[track] = packet.timestamp
        stack = open_slices[track]
        if event.type == BEGIN:
            one = Slice(event.name, packet.timestamp, len(stack), facts_of(event))
            seen.slices[name].append(one)
            stack.append(one)
        elif event.type == END:
            stack[-1].facts |= facts_of(event)
            stack.pop().end = packet.timestamp
        elif event.type == pb.TrackEvent.TYPE_COUNTER:
            seen.counters[name].append(event.counter_value)
        else:
            seen.instants[name].append(event.name)
        for flow in event.flow_ids:
            assert flow not in begun
            begun[flow] = f"{name}: {event.name}"
        seen.flows += [
            (begun[flow], f"{name}: {event.name}") for flow in event.terminating_flow_ids
        ]
    assert not any(open_slices.values())
    return seen


def draw(events: Iterable[Event]) -> View:
    """Write events, and look at what was written."""
    file = io.BytesIO()
    writer, decoder = PerfettoWriter(file), Decoder()
    for event in events:
        writer.add(event, decoder.spell(event))
    writer.finish()
    return view(file.getvalue())


def test_a_request_is_a_slice_from_add_to_pop_used() -> None:
    """In it the device's part, and in that the request."""
    seen = draw(block_write(7, 1000, Tape(DRIVER), Tape(DEVICE)))
    shown = [(one.name, one.depth, one.begin, one.end) for one in seen.slices["vda queue 0"]]
    assert shown == [
        ("#7", 0, 1000, 10000),
        ("#7 device", 1, 4000, 7000),
        ("OUT sector 128, 4096 bytes", 2, 5000, 6000),
    ]
    assert seen.slices["vda queue 0"][0].facts == {
        "descriptors": 3,
        "bytes": 4113,
        "written bytes": 1,
    }


def test_arrows_lead_from_notify_and_interrupt_to_their_arrival() -> None:
    """Several that arrive as one all lead there."""
    driver, device = Tape(DRIVER), Tape(DEVICE)
    events = [
        *block_write(7, 1000, driver, device),
        driver("notify", queue=1),
        driver("notify", queue=1),
        device("notify", queue=1, detail=1),
    ]
    assert draw(events).flows == [
        ("vda driver: q0 notify", "vda device: q0 notify by eventfd"),
        ("vda device: q0 interrupt (used buffer)", "vda driver: irq (used buffer)"),
        ("vda driver: q1 notify", "vda device: q1 notify by eventfd"),
        ("vda driver: q1 notify", "vda device: q1 notify by eventfd"),
    ]


def test_chains_that_overlap_have_tracks_of_their_own() -> None:
    """Of one name, so that they are shown as one; a track is used again."""
    driver = Tape(DRIVER)
    kinds = [("add", 1), ("add", 2), ("pop_used", 1), ("add", 3), ("pop_used", 2), ("pop_used", 3)]
    seen = draw(driver(kind, token=token) for kind, token in kinds)
    assert list(seen.names.values()).count("vda queue 0") == 2
    assert [one.depth for one in seen.slices["vda queue 0"]] == [0, 0, 0]
    assert seen.counters["vda queue 0 in flight"] == [1, 2, 1, 2, 1, 0]


def test_what_is_in_flight_at_the_end_is_closed_and_says_so() -> None:
    """At the time of the last event."""
    driver, device = Tape(DRIVER), Tape(DEVICE)
    seen = draw([driver("add", token=1), device("pop", token=1), driver("notify", at=9000)])
    outer, inner = seen.slices["vda queue 0"]
    assert outer.end == inner.end >= 9000
    assert outer.facts["unfinished"] == "the trace ends here"


def test_a_dialogue_that_breaks_off_closes_its_chains() -> None:
    """Another driver uses the same numbers anew."""
    driver = Tape(DRIVER)
    seen = draw(
        [driver("add", token=1), driver("detach"), driver("attach"), driver("add", token=1)]
    )
    first, second = seen.slices["vda queue 0"]
    assert first.facts["unfinished"] == "the dialogue broke off"
    assert first.end <= second.begin
    assert seen.counters["vda queue 0 in flight"] == [1, 0, 1]


def test_a_trace_of_one_side_alone_can_be_drawn() -> None:
    """And one that begins in the middle of a request."""
    events = list(block_write(7, 1000, Tape(DRIVER), Tape(DEVICE)))
    device = draw(event for event in events if event.source.side == "device")
    assert device.slices["vda queue 0"][0].name == "#7 device"
    middle = draw(events[5:])
    assert not middle.slices
    assert middle.flows[0][1] == "vda driver: irq (used buffer)"


def test_registers_are_instants_of_their_own_track() -> None:
    """With their names."""
    tape = Tape(DEVICE)
    seen = draw([tape.write(0x70, 1), tape.read(0x70, 1)])
    assert seen.instants["vda registers"] == ["Status = ACKNOWLEDGE", "Status = ACKNOWLEDGE"]


def test_each_device_is_a_group_and_times_are_tied_to_the_time_of_day() -> None:
    """By a clock snapshot at the beginning."""
    other = Tape(source("driver", "vdb"))
    file = io.BytesIO()
    writer, decoder = PerfettoWriter(file), Decoder()
    for event in [Tape(DRIVER)("attach", at=5), other("attach", at=6)]:
        writer.add(event, decoder.spell(event))
    trace = pb.Trace.FromString(file.getvalue())
    clocks = {one.clock_id: one.timestamp for one in trace.packet[0].clock_snapshot.clocks}
    assert clocks == {pb.BUILTIN_CLOCK_BOOTTIME: 5, pb.BUILTIN_CLOCK_REALTIME: 5 + OFFSET_NS}
    processes = [one.track_descriptor.process.process_name for one in trace.packet]
    assert [name for name in processes if name] == ["vda", "vdb"]


def test_any_order_of_events_makes_a_trace_that_can_be_read() -> None:
    """A hostile file may say anything: slices still nest."""
    driver, device = Tape(DRIVER), Tape(DEVICE)
    steps = ["pop_used", "push", "pop", "pop", "request_start", "add", "request_start", "pop"]
    steps += ["request_end", "request_end", "push", "add", "pop", "pop_used", "push"]
    tapes = {"add": driver, "pop_used": driver}
    seen = draw(tapes.get(step, device)(step, token=1) for step in steps)
    assert seen.slices["vda queue 0"]


def test_times_of_a_hostile_file_stay_within_what_a_time_can_be() -> None:
    """Hosts and clocks may be claimed to be anywhere."""
    far = replace(DEVICE, boot_id="far", realtime_offset_ns=(1 << 63) - 1)
    past = replace(DEVICE, boot_id="past", realtime_offset_ns=-(1 << 63) + 1)
    times = [(1 << 64) - 1, 0, 1]
    seen = draw(
        Tape(one)("reset", at=at) for one, at in zip([far, past, DEVICE], times, strict=True)
    )
    assert seen.instants["vda device"] == ["reset complete"] * 3
