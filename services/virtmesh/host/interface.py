"""What DescribeInterface and the figures of GetStats say, from the record of a kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh_common.api.device.v1 import interface_pb2 as pb
from virtmesh_common.interface import (
    FigureInfo,
    Interface,
    MetricInfo,
    MetricType,
    RegisterSpace,
    RequestType,
)
from virtmesh_common.virtio.features import feature_bits, feature_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from enum import IntFlag

    from prometheus_client import Metric

    from virtmesh.kinds.record import DeviceKind, Figure, RequestNames
    from virtmesh.mmio.device import Description
    from virtmesh.telemetry.definitions import Definition
    from virtmesh_common.registers import Register


def make_interface(about: Description, kind: DeviceKind | None) -> Interface:
    """Return the interface of a device; without a record of its kind, what it says itself."""
    registers = tuple(about.registers or (kind.registers if kind else ()))
    interface = Interface(
        kind=about.kind,
        space=RegisterSpace.VIRTIO_CONFIG if about.virtio_device_id else RegisterSpace.WINDOW,
        registers=tuple(sorted(registers, key=place)),
        features=tuple(sorted(feature_bits(about.family).items())) if about.family else (),
    )
    return interface if kind is None else add_kind(interface, kind)


def add_kind(interface: Interface, kind: DeviceKind) -> Interface:
    """Return an interface with what the record of the kind says."""
    return Interface(
        kind=interface.kind,
        title=kind.title,
        space=interface.space,
        registers=interface.registers,
        features=interface.features,
        request_types=request_types(kind.requests) if kind.requests else (),
        request_statuses=tuple(sorted(kind.requests.statuses.items())) if kind.requests else (),
        metrics=tuple(map(metric_info, kind.metrics)),
        figures=tuple(map(figure_info, kind.figures)),
    )


def place(register: Register) -> tuple[str, int]:
    """Return what registers are sorted by."""
    return register.bank, register.offset


def request_types(requests: RequestNames) -> tuple[RequestType, ...]:
    """Return the types of requests, by number."""
    return tuple(
        RequestType(number, name, has_sector=number not in requests.without_sector)
        for number, name in sorted(requests.types.items())
    )


def metric_info(metric: Definition) -> MetricInfo:
    """Return what a metric is."""
    return MetricInfo(
        metric.full_name, MetricType[metric.kind.name], metric.unit, metric.labels, metric.meaning
    )


def figure_info(figure: Figure) -> FigureInfo:
    """Return what a figure is."""
    return FigureInfo(
        label=figure.label,
        type=MetricType[figure.metric.kind.name],
        unit=figure.metric.unit,
        is_total=figure.is_total,
        metric=figure.metric.full_name,
        labels=tuple(sorted(figure.labels.items())),
    )


def offered_features(family: type[IntFlag] | None, features: int) -> list[pb.FeatureBit]:
    """Return the feature bits that a virtio device offers, each with its name; else none."""
    if family is None:
        return []
    bits = [bit for bit in range(features.bit_length()) if features >> bit & 1]
    names = feature_names(features, family)
    return [pb.FeatureBit(bit=bit, name=name) for bit, name in zip(bits, names, strict=True)]


def figure_values(kind: DeviceKind | None, metrics: Iterable[Metric]) -> list[pb.FigureValue]:
    """Return the values of the figures of a kind, from the metrics of a device, read now."""
    if kind is None or not kind.figures:
        return []
    by_name = {metric.name: metric for metric in metrics}
    return [
        pb.FigureValue(label=figure.label, value=figure_value(figure, by_name))
        for figure in kind.figures
    ]


def figure_value(figure: Figure, metrics: Mapping[str, Metric]) -> float:
    """Return the sum of the series of a figure; 0 where the device has none."""
    metric = metrics.get(figure.metric.name)
    if metric is None:
        return 0.0
    matches = partial(has_labels, figure.labels)
    return sum(
        sample.value
        for sample in metric.samples
        if sample.name == figure.metric.full_name and matches(sample.labels)
    )


def has_labels(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Say whether a series has the labels that are wanted."""
    return wanted.items() <= labels.items()
