"""Interfaces on the wire (virtmesh.device.v1.Interface): encoded, and parsed within bounds.

What a service or a saved trace says is hostile until it is parsed: every text is printable and of
bounded length, every list is bounded, and no two registers are in one place.
"""

from __future__ import annotations

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
from virtmesh_common.register_places import check_places
from virtmesh_common.registers import WIDTHS, Access, Field, Register
from virtmesh_common.virtio.mmio import MMIO_CONFIG, MMIO_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

MESSAGE_MAX = 1 << 16
"""Longest message, in bytes."""
NAME_MAX = 80
"""Longest name, in characters."""
TEXT_MAX = 500
"""Longest text for people, in characters."""
REGISTERS_MAX, FIELDS_MAX, VALUES_MAX, BANKS_MAX = 512, 2048, 4096, 16
"""Most registers, fields of all of them, named values of all of those, and banks."""
REGISTER_MAX = MMIO_SIZE - MMIO_CONFIG
"""Most bytes of one register: a whole configuration space. The largest that is known has 128."""
SPACE_MAX = 1 << 16
"""Most bytes that all registers have together."""
FEATURES_MAX, REQUESTS_MAX, METRICS_MAX, LABELS_MAX, FIGURES_MAX = 128, 256, 256, 16, 64
"""Most feature bits, request types or statuses, metrics, labels of one, and figures."""

SPACES = {
    RegisterSpace.UNKNOWN: pb.REGISTER_SPACE_UNSPECIFIED,
    RegisterSpace.WINDOW: pb.REGISTER_SPACE_WINDOW,
    RegisterSpace.VIRTIO_CONFIG: pb.REGISTER_SPACE_VIRTIO_CONFIG,
}
ACCESSES = {
    Access.R: pb.REGISTER_ACCESS_READ_ONLY,
    Access.W: pb.REGISTER_ACCESS_WRITE_ONLY,
    Access.RW: pb.REGISTER_ACCESS_READ_WRITE,
    Access.RESERVED: pb.REGISTER_ACCESS_RESERVED,
}
TYPES = {
    MetricType.COUNTER: pb.METRIC_TYPE_COUNTER,
    MetricType.GAUGE: pb.METRIC_TYPE_GAUGE,
    MetricType.HISTOGRAM: pb.METRIC_TYPE_HISTOGRAM,
    MetricType.INFO: pb.METRIC_TYPE_INFO,
}
SPACE_OF = {number: space for space, number in SPACES.items()}
ACCESS_OF = {number: access for access, number in ACCESSES.items()}
TYPE_OF = {number: kind for kind, number in TYPES.items()}


def encode_interface(interface: Interface) -> pb.Interface:
    """Return an interface as a message."""
    return pb.Interface(
        kind=interface.kind,
        title=interface.title,
        register_space=SPACES[interface.space],
        registers=map(encode_register, interface.registers),
        features=(pb.FeatureBit(bit=bit, name=name) for bit, name in interface.features),
        request_types=(
            pb.RequestType(number=one.number, name=one.name, has_sector=one.has_sector)
            for one in interface.request_types
        ),
        request_statuses=(
            pb.RequestStatus(number=number, name=name)
            for number, name in interface.request_statuses
        ),
        metrics=(
            pb.Metric(
                name=one.name,
                type=TYPES[one.type],
                unit=one.unit,
                labels=one.labels,
                meaning=one.meaning,
            )
            for one in interface.metrics
        ),
        figures=(
            pb.Figure(
                label=one.label,
                unit=one.unit,
                type=TYPES[one.type],
                is_total=one.is_total,
                metric=one.metric,
                labels=dict(one.labels),
            )
            for one in interface.figures
        ),
    )


def encode_register(register: Register) -> pb.Register:
    """Return a register as a message."""
    return pb.Register(
        name=register.name,
        offset=register.offset,
        size_bytes=register.size,
        widths_bytes=register.widths,
        access=ACCESSES[register.access],
        clause=register.clause,
        doc=register.doc,
        reset_value=register.reset,
        bank=register.bank,
        transient=register.transient,
        fields=(
            pb.Field(
                name=one.name,
                low_bit=one.low,
                width_bits=one.width,
                reserved=one.reserved,
                values=(pb.FieldValue(value=value, name=name) for value, name in one.values),
                doc=one.doc,
            )
            for one in register.fields
        ),
    )


def parse_interface(message: pb.Interface) -> Interface:
    """Return what a message says. Errors: ValueError for what is out of bounds, or no interface."""
    if message.ByteSize() > MESSAGE_MAX:
        raise ValueError(f"{message.ByteSize()} bytes are more than {MESSAGE_MAX}")
    registers = parse_registers(message.registers)
    at_most(message.features, FEATURES_MAX, "feature bits")
    at_most(message.request_types, REQUESTS_MAX, "request types")
    at_most(message.request_statuses, REQUESTS_MAX, "request statuses")
    at_most(message.metrics, METRICS_MAX, "metrics")
    at_most(message.figures, FIGURES_MAX, "figures")
    figures = tuple(map(parse_figure, message.figures))
    if len({one.label for one in figures}) != len(figures):
        raise ValueError("two figures have the same label")
    return Interface(
        kind=name(message.kind, empty=True),
        title=text(message.title),
        space=SPACE_OF.get(message.register_space, RegisterSpace.UNKNOWN),
        registers=registers,
        features=tuple((one.bit, name(one.name)) for one in message.features),
        request_types=tuple(
            RequestType(one.number, name(one.name), one.has_sector) for one in message.request_types
        ),
        request_statuses=tuple((one.number, name(one.name)) for one in message.request_statuses),
        metrics=tuple(map(parse_metric, message.metrics)),
        figures=figures,
    )


def parse_registers(messages: Sequence[pb.Register]) -> tuple[Register, ...]:
    """Return the registers. Errors: ValueError."""
    at_most(messages, REGISTERS_MAX, "registers")
    for what, count, most in (
        ("fields", sum(len(one.fields) for one in messages), FIELDS_MAX),
        ("values", sum(len(f.values) for one in messages for f in one.fields), VALUES_MAX),
        ("bytes of registers", sum(one.size_bytes for one in messages), SPACE_MAX),
        ("banks", len({one.bank for one in messages}), BANKS_MAX),
    ):
        if count > most:
            raise ValueError(f"{count} {what} are more than {most}")
    registers = tuple(map(parse_register, messages))
    check_places(registers)
    return registers


def parse_register(message: pb.Register) -> Register:
    """Return a register. Errors: ValueError."""
    called = name(message.name)
    access, widths = ACCESS_OF.get(message.access), tuple(message.widths_bytes)
    if access is None:
        raise ValueError(f"{called}: no access has the number {message.access}")
    if not widths or len(widths) > len(WIDTHS) or not set(widths) <= set(WIDTHS):
        raise ValueError(f"{called}: accesses are 1, 2, 4 or 8 bytes wide")
    if not message.size_bytes:
        raise ValueError(f"{called} has no bytes")
    if message.size_bytes > REGISTER_MAX:
        raise ValueError(f"{called}: {message.size_bytes} bytes are more than {REGISTER_MAX}")
    return Register(
        name=called,
        offset=message.offset,
        access=access,
        clause=name(message.clause, empty=True),
        doc=text(message.doc),
        size=message.size_bytes,
        widths=widths,
        reset=message.reset_value,
        fields=tuple(map(parse_field, message.fields)),
        transient=message.transient,
        bank=name(message.bank, empty=True),
    )


def parse_field(message: pb.Field) -> Field:
    """Return a field; its register checks where it is. Errors: ValueError."""
    return Field(
        name=name(message.name),
        low=message.low_bit,
        width=message.width_bits,
        values=tuple((one.value, name(one.name)) for one in message.values),
        reserved=message.reserved,
        doc=text(message.doc),
    )


def parse_metric(message: pb.Metric) -> MetricInfo:
    """Return a metric. Errors: ValueError."""
    at_most(message.labels, LABELS_MAX, "labels")
    return MetricInfo(
        name=name(message.name),
        type=parse_type(message.type),
        unit=name(message.unit, empty=True),
        labels=tuple(map(name, message.labels)),
        meaning=text(message.meaning),
    )


def parse_figure(message: pb.Figure) -> FigureInfo:
    """Return a figure. Errors: ValueError."""
    at_most(message.labels, LABELS_MAX, "labels")
    labels = sorted(message.labels.items())
    kind = parse_type(message.type)
    if kind not in {MetricType.COUNTER, MetricType.GAUGE}:
        raise ValueError("a figure is a counter or a gauge")
    return FigureInfo(
        label=name(message.label),
        type=kind,
        unit=name(message.unit, empty=True),
        is_total=message.is_total,
        metric=name(message.metric, empty=True),
        labels=tuple((name(key), name(value, empty=True)) for key, value in labels),
    )


def parse_type(number: int) -> MetricType:
    """Return a type of metrics. Errors: ValueError."""
    if number not in TYPE_OF:
        raise ValueError(f"no type of metrics has the number {number}")
    return TYPE_OF[pb.MetricType.ValueType(number)]


def at_most(items: Sized, most: int, what: str) -> None:
    """Bound a list. Errors: ValueError."""
    if len(items) > most:
        raise ValueError(f"{len(items)} {what} are more than {most}")


def name(value: str, *, empty: bool = False) -> str:
    """Return a name. Errors: ValueError."""
    if not value and not empty:
        raise ValueError("a name is empty")
    return checked(value, NAME_MAX)


def text(value: str) -> str:
    """Return a text for people. Errors: ValueError."""
    return checked(value, TEXT_MAX)


def checked(value: str, most: int) -> str:
    """Return a text that fits a terminal. Errors: ValueError."""
    if len(value) > most:
        raise ValueError(f"a text of {len(value)} characters is longer than {most}")
    if not value.isprintable():
        raise ValueError(f"{value!r} has characters that can't be printed")
    return value
