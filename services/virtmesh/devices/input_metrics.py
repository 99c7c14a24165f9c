"""Metrics of an input device, made when a scraper asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from virtmesh.input_codes import TYPES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.devices.input_inject import Injection
    from virtmesh.devices.input_output import Output
    from virtmesh.devices.input_personality import Personality

EV_LED = TYPES["EV_LED"]


def input_metrics(
    injection: Injection, output: Output, personality: Personality
) -> Iterable[Metric]:
    """Return the metrics of an input device, read now."""
    delivery = injection.delivery
    # Names, not labels: a packet is accepted and then delivered, so that a sum means nothing.
    for name, what, count in (
        ("packets_accepted", "Packets accepted", injection.accepted),
        ("packets_delivered", "Packets delivered whole", delivery.delivered),
        ("packets_refused", "Packets refused, the room being full", injection.refused),
        ("packets_lost", "Packets lost with a driver that had a part", delivery.lost),
        ("packets_split", "Packets delivered in parts", delivery.split),
        ("events_accepted", "Events accepted, SYN_REPORT included", injection.events_accepted),
        ("events_delivered", "Events delivered", delivery.events_delivered),
    ):
        yield CounterMetricFamily(f"virtmesh_input_{name}", what, value=count)
    sent = CounterMetricFamily(
        "virtmesh_input_output_events", "Events that the driver sent", labels=["outcome"]
    )
    sent.add_metric(["obeyed"], output.events)
    sent.add_metric(["unknown"], output.unknown)
    malformed = CounterMetricFamily(
        "virtmesh_input_malformed", "Buffers that break the rules", labels=["queue"]
    )
    malformed.add_metric(["event"], delivery.malformed)
    malformed.add_metric(["status"], output.malformed)
    yield from (sent, malformed)
    yield GaugeMetricFamily(
        "virtmesh_input_waiting_packets",
        "Packets that the driver has not got whole",
        value=delivery.waiting,
    )
    leds = GaugeMetricFamily("virtmesh_input_led", "1 while a light is on", labels=["led"])
    lit = output.leds_on
    for led in personality.codes.get(EV_LED, ()):
        leds.add_metric([name_of(EV_LED, led)], led in lit)
    yield leds
