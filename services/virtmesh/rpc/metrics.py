"""Calls of gRPC servers.

The names are those that gRPC's own Prometheus interceptors use, so that dashboards for those fit.
A label never holds text of a client: methods that this build does not know share one label.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram, counter, gauge, histogram
from virtmesh_common import api

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import ServiceDescriptor
    from prometheus_client import Metric

METHOD = ("grpc_type", "grpc_service", "grpc_method")
STARTED = counter("grpc_server_started", "Calls begun.", "calls", *METHOD)
HANDLED = counter(
    "grpc_server_handled", "Calls ended, by status code.", "calls", *METHOD, "grpc_code"
)
RECEIVED = counter(
    "grpc_server_msg_received", "Messages received, on streams and else.", "messages", *METHOD
)
SENT = counter("grpc_server_msg_sent", "Messages sent, on streams and else.", "messages", *METHOD)
DURATION = histogram(
    "grpc_server_handling_seconds", "Time that a call of one answer took.", *METHOD
)
OPEN = gauge("grpc_server_open_calls", "Calls under way: of streams, those open.", "calls", *METHOD)

UNKNOWN = "other"
"""Label of methods that this build does not know."""
UNARY = "unary"
SERVER_STREAM = "server_stream"
TAKE_ONE = frozenset((UNARY, SERVER_STREAM))
"""Kinds of methods that take one request."""


@dataclass
class MethodCounts:
    """Counters of one method."""

    labels: tuple[str, str, str]
    started: int = 0
    received: int = 0
    sent: int = 0
    handled: Counter[str] = field(default_factory=Counter)
    """Calls ended, by name of the status code."""
    last_logged: str = ""
    """Identifier of the last successful call that was logged."""
    durations: Histogram = field(default_factory=lambda: Histogram(LATENCY_BOUNDS))

    @property
    def is_unary(self) -> bool:
        """True for one request and one answer. The duration of a stream means nothing."""
        return self.labels[0] == UNARY


class CallCounts:
    """Counts the calls of one server. Use it on the event loop of that server only."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodCounts] = {}

    def of(self, method: str) -> MethodCounts:
        """Return the counts of a method, such as /virtmesh.kernel.v1.KernelService/ListDevices."""
        counts = self._methods.get(method)
        if counts is None:
            labels = known_methods().get(method)
            if labels is None:
                method, labels = UNKNOWN, (UNKNOWN, UNKNOWN, UNKNOWN)
            counts = self._methods.setdefault(method, MethodCounts(labels))
        return counts

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics, read now."""
        rows = list(self._methods.values())
        yield STARTED.of((row.labels, row.started) for row in rows)
        yield HANDLED.of(
            ((*row.labels, code), count)
            for row in rows
            for code, count in ({"OK": 0} | row.handled).items()
        )
        yield OPEN.of((row.labels, row.started - row.handled.total()) for row in rows)
        yield RECEIVED.of((row.labels, row.received) for row in rows)
        yield SENT.of((row.labels, row.sent) for row in rows)
        yield DURATION.histograms((row.labels, row.durations) for row in rows if row.is_unary)


@cache
def contract_services() -> tuple[ServiceDescriptor, ...]:
    """Return every service in the contracts of this build."""
    names = (module.name for module in pkgutil.walk_packages(api.__path__, f"{api.__name__}."))
    modules = [importlib.import_module(name) for name in names if name.endswith("_pb2")]
    return tuple(
        service for module in modules for service in module.DESCRIPTOR.services_by_name.values()
    )


def _standard_services() -> tuple[ServiceDescriptor, ...]:
    """Return the services of gRPC that every server has."""
    return tuple(
        service
        for module in (health_pb2, reflection_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    )


@cache
def known_methods() -> dict[str, tuple[str, str, str]]:
    """Return the labels of every method in the contracts of this build, by full name."""
    services = (*contract_services(), *_standard_services())
    return {
        f"/{service.full_name}/{method.name}": (
            _type_of(client=method.client_streaming, server=method.server_streaming),
            service.full_name,
            method.name,
        )
        for service in services
        for method in service.methods
    }


def is_unary(method: str) -> bool:
    """Say whether a method of the contracts has one response to one request; unknown ones: no."""
    return known_methods().get(method, ("",))[0] == UNARY


def _type_of(*, client: bool, server: bool) -> str:
    """Name the kind of a method, as gRPC's interceptors do."""
    if client and server:
        return "bidi_stream"
    return "client_stream" if client else SERVER_STREAM if server else UNARY
