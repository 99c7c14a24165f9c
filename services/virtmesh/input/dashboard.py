"""Keyboards, mice, tablets and touch screens."""

from __future__ import annotations

from virtmesh.dashboards.board import NUMBER, STATES, Board, Panel, Row, quantiles, rate

BOARD = Board(
    uid="virtmesh-input",
    title="virtmesh: input",
    meaning="Input devices: what is injected, what the driver gets, and what waits between.",
    devices='label_values(virtmesh_input_waiting_packets{machine=~"$machine"}, device)',
    rows=(
        Row(
            "Every injected event is accounted for",
            (
                Panel(
                    "Waiting",
                    "Packets that drivers have not got whole.",
                    "none",
                    [("virtmesh_input_waiting_packets{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                    limits=[64, 256],
                ),
                Panel(
                    "Accepted",
                    "Packets accepted since the service started.",
                    "none",
                    [("virtmesh_input_packets_accepted_total{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Delivered",
                    "Packets delivered whole since the service started.",
                    "none",
                    [("virtmesh_input_packets_delivered_total{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Refused or lost",
                    "Packets that found no room, or went with a driver that had a part of them.",
                    "none",
                    [
                        ("virtmesh_input_packets_refused_total{$sel}", "{{device}} refused"),
                        ("virtmesh_input_packets_lost_total{$sel}", "{{device}} lost"),
                    ],
                    NUMBER,
                    width=6,
                    height=4,
                    limits=[1],
                ),
            ),
        ),
        Row(
            "Events",
            (
                Panel(
                    "Events",
                    "Events accepted from injectors, and delivered to drivers.",
                    "ops",
                    [
                        rate("virtmesh_input_events_accepted_total", "{{device}} accepted"),
                        rate("virtmesh_input_events_delivered_total", "{{device}} delivered"),
                    ],
                ),
                Panel(
                    "Time to delivery",
                    "From accepting a packet to its last event in a buffer of the driver.",
                    "s",
                    quantiles(
                        "virtmesh_input_delivery_duration_seconds_bucket", "device", "{{device}}"
                    ),
                    limits=[0.1, 1],
                ),
                Panel(
                    "Waiting room",
                    "Events that wait for buffers of the driver.",
                    "none",
                    [("virtmesh_input_waiting_events{$sel}", "{{device}}")],
                ),
                Panel(
                    "Received by the kernel",
                    "Events that the drivers handed to their readers.",
                    "ops",
                    [rate("virtmesh_kernel_input_events_total", "{{device}}")],
                ),
                Panel(
                    "Trouble",
                    "Packets refused, lost, or delivered in parts; buffers that break the rules.",
                    "ops",
                    [
                        rate("virtmesh_input_packets_refused_total", "{{device}} refused"),
                        rate("virtmesh_input_packets_lost_total", "{{device}} lost"),
                        rate("virtmesh_input_packets_split_total", "{{device}} split"),
                        rate("virtmesh_input_malformed_total", "{{device}} malformed"),
                    ],
                    limits=[0.1],
                ),
                Panel(
                    "Buffers posted",
                    "Buffers that drivers have ready, by queue.",
                    "none",
                    [("virtmesh_kernel_in_flight_tokens{$sel}", "{{device}} queue {{queue}}")],
                ),
            ),
        ),
        Row(
            "What drivers send",
            (
                Panel(
                    "Lights",
                    "Lights of keyboards, over time.",
                    "none",
                    [("virtmesh_input_led{$sel}", "{{device}} {{led}}")],
                    STATES,
                    width=12,
                    limits=[1],
                    reversed=True,
                    names={"0": "off", "1": "on"},
                ),
                Panel(
                    "Events from drivers",
                    "Lights, sounds and repeat settings; unknown are those that the device lacks.",
                    "ops",
                    [
                        rate(
                            "virtmesh_input_output_events_total",
                            "{{device}} {{outcome}}",
                            "device, outcome",
                        )
                    ],
                    width=12,
                ),
            ),
        ),
    ),
)
