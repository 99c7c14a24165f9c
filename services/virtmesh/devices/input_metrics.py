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
    packets = CounterMetricFamily(
        "virtmesh_input_packets", "Packets, by what became of them", labels=["outcome"]
    )
    for outcome, count in (
        ("accepted", injection.accepted),
        ("delivered", delivery.delivered),
        ("refused", injection.refused),
        ("lost", delivery.lost),
        ("split", delivery.split),
    ):
        packets.add_metric([outcome], count)
    events = CounterMetricFamily(
        "virtmesh_input_events", "Events, SYN_REPORT included", labels=["outcome"]
    )
    events.add_metric(["accepted"], injection.events_accepted)
    events.add_metric(["delivered"], delivery.events_delivered)
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
    yield from (packets, events, sent, malformed)
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
