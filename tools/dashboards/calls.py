"""gRPC."""

from __future__ import annotations

from virtmesh.dashboards.board import NUMBER, Board, Panel, Query, Row, of_services, quantiles, rate

METHOD = "{{grpc_method}}"
SERVED = "{{device}}"


def by_method(metric: str) -> Query:
    """Return how often something happens in a second, by method."""
    return rate(metric, METHOD, "grpc_service, grpc_method", "$machines")


BOARD = Board(
    uid="virtmesh-grpc",
    title="virtmesh: gRPC",
    meaning="Calls of every service of a machine: how many, how fast, how they ended.",
    devices="",
    rows=(
        Row(
            "Calls",
            (
                Panel(
                    "Calls by method",
                    "Calls begun.",
                    "reqps",
                    [by_method("grpc_server_started_total")],
                    width=12,
                ),
                Panel(
                    "Calls by status code",
                    "Calls ended. CANCELLED are streams that the client left.",
                    "reqps",
                    [rate("grpc_server_handled_total", "{{grpc_code}}", "grpc_code", "$machines")],
                    width=12,
                ),
                Panel(
                    "Errors",
                    "The part of calls that failed by the service's fault in five minutes.",
                    "percentunit",
                    [
                        (
                            of_services(
                                "machine_device:grpc_server_errors:ratio_rate5m{$machines}"
                            ),
                            SERVED,
                        )
                    ],
                    limits=[0.01, 0.05],
                ),
                Panel(
                    "Latency by method",
                    "Time that calls of one answer took; streams have none.",
                    "s",
                    quantiles(
                        "grpc_server_handling_seconds_bucket", "grpc_method", METHOD, "$machines"
                    ),
                    width=16,
                    limits=[0.1, 1],
                ),
            ),
        ),
        Row(
            "Streams",
            (
                Panel(
                    "Open calls",
                    "Calls under way; streams stay open as long as their clients want.",
                    "none",
                    [
                        (
                            of_services(
                                "sum by (machine, device) (grpc_server_open_calls{$machines})"
                            ),
                            SERVED,
                        )
                    ],
                    NUMBER,
                ),
                Panel(
                    "Messages received",
                    "Messages that came, on streams and else.",
                    "ops",
                    [by_method("grpc_server_msg_received_total")],
                ),
                Panel(
                    "Messages sent",
                    "Messages that went out, on streams and else.",
                    "ops",
                    [by_method("grpc_server_msg_sent_total")],
                ),
            ),
        ),
    ),
)
