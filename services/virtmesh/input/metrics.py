"""Input devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter, gauge, histogram
from virtmesh_common.evdev import TYPES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.input.injection import Injection
    from virtmesh.input.output import Output
    from virtmesh.input.personality import Personality

EV_LED = TYPES["EV_LED"]

# Names, not labels: a packet is accepted and then delivered, so that a sum means nothing.
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


def input_metrics(
    injection: Injection, output: Output, personality: Personality
) -> Iterable[Metric]:
    """Return the metrics of an input device, read now."""
    delivery = injection.delivery
    yield PACKETS_ACCEPTED.one(injection.accepted)
    yield PACKETS_DELIVERED.one(delivery.delivered)
    yield PACKETS_REFUSED.one(injection.refused)
    yield PACKETS_LOST.one(delivery.lost)
    yield PACKETS_SPLIT.one(delivery.split)
    yield EVENTS_ACCEPTED.one(injection.events_accepted)
    yield EVENTS_DELIVERED.one(delivery.events_delivered)
    yield DELIVERY.histograms([((), delivery.durations)])
    yield OUTPUT.of([(("obeyed",), output.events), (("unknown",), output.unknown)])
    yield MALFORMED.of([(("event",), delivery.malformed), (("status",), output.malformed)])
    yield WAITING_PACKETS.one(delivery.waiting)
    yield WAITING_EVENTS.one(delivery.events_waiting)
    lit = output.leds_on
    yield LED.of(((name_of(EV_LED, led),), led in lit) for led in personality.codes.get(EV_LED, ()))
