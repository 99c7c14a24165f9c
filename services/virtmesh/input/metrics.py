"""Input devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter, gauge, histogram
from virtmesh_common.evdev import TYPES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.input.model import InputModel

EV_LED = TYPES["EV_LED"]

# A name each, not a label: a packet is accepted and later delivered, so a sum would mean nothing.
PACKETS_ACCEPTED = counter("virtmesh_input_packets_accepted", "Packets accepted.", "packets")
PACKETS_DELIVERED = counter(
    "virtmesh_input_packets_delivered", "Packets delivered whole.", "packets"
)
PACKETS_REFUSED = counter(
    "virtmesh_input_packets_refused", "Packets refused, the room being full.", "packets"
)
PACKETS_LOST = counter(
    "virtmesh_input_packets_lost", "Packets lost with a driver that had a part.", "packets"
)
PACKETS_SPLIT = counter("virtmesh_input_packets_split", "Packets delivered in parts.", "packets")
EVENTS_ACCEPTED = counter(
    "virtmesh_input_events_accepted", "Events accepted, SYN_REPORT included.", "events"
)
EVENTS_DELIVERED = counter("virtmesh_input_events_delivered", "Events delivered.", "events")
DELIVERY = histogram(
    "virtmesh_input_delivery_duration_seconds",
    "Time from accepting a packet to its last event in a buffer of the driver.",
)
OUTPUT = counter(
    "virtmesh_input_output_events",
    "Events that the driver sent, such as lights. `outcome` is obeyed or unknown.",
    "events",
    "outcome",
)
MALFORMED = counter(
    "virtmesh_input_malformed",
    "Buffers that break the rules. `queue` is event or status.",
    "buffers",
    "queue",
)
WAITING_PACKETS = gauge(
    "virtmesh_input_waiting_packets", "Packets that the driver has not got whole.", "packets"
)
WAITING_EVENTS = gauge(
    "virtmesh_input_waiting_events", "Events of those packets, with those it has got.", "events"
)
LED = gauge(
    "virtmesh_input_led", "1 while a light is on, by the name of its LED_* code.", "", "led"
)


def input_metrics(model: InputModel) -> Iterable[Metric]:
    """Return the metrics of an input device, read now."""
    injection, output = model.injection, model.output
    yield PACKETS_ACCEPTED.one(injection.accepted)
    yield PACKETS_DELIVERED.one(injection.delivered)
    yield PACKETS_REFUSED.one(injection.refused)
    yield PACKETS_LOST.one(injection.lost)
    yield PACKETS_SPLIT.one(injection.split)
    yield EVENTS_ACCEPTED.one(injection.events_accepted)
    yield EVENTS_DELIVERED.one(injection.events_delivered)
    yield DELIVERY.histograms([((), injection.durations)])
    yield OUTPUT.of([(("obeyed",), output.events), (("unknown",), output.unknown)])
    events, statuses = model.counters
    yield MALFORMED.of([(("event",), events.malformed), (("status",), statuses.malformed)])
    yield WAITING_PACKETS.one(injection.waiting)
    yield WAITING_EVENTS.one(injection.events_waiting)
    lights = model.personality.codes.get(EV_LED, ())
    yield LED.of(((name_of(EV_LED, led),), led in output.leds_on) for led in lights)
