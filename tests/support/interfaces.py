"""Interfaces for tests of what reads them: a kind that nobody has heard of, and hostile ones."""

from __future__ import annotations

from virtmesh_common.api.device.v1 import interface_pb2 as pb
from virtmesh_common.interface import (
    FigureInfo,
    Interface,
    MetricInfo,
    MetricType,
    RegisterSpace,
    RequestType,
)
from virtmesh_common.interface_message import REGISTER_MAX, SPACE_MAX, encode_register
from virtmesh_common.registers import Access, Field, Register, fill_reserved
from virtmesh_common.virtio.mmio import MMIO_CONFIG

MODE = Register(
    "mode",
    MMIO_CONFIG,
    Access.RW,
    "9.9",
    "How the toy plays",
    fields=fill_reserved(
        (
            Field("ON", 0, doc="It plays"),
            Field("SPEED", 1, 2, values=((1, "slow"), (2, "fast"))),
            Field("LEVEL", 4, 4),
        ),
        32,
    ),
)
STATE = Register(
    "state", MMIO_CONFIG + 4, Access.R, "9.9", "Where it is", fields=(Field("state", 0, 32),)
)
TOY = Interface(
    kind="toy",
    title="A toy that nobody has heard of.",
    space=RegisterSpace.VIRTIO_CONFIG,
    registers=(MODE, STATE),
    features=((3, "VIRTIO_TOY_F_LOUD"),),
    request_types=(RequestType(0, "PLAY"), RequestType(1, "SEEK", has_sector=True)),
    request_statuses=((0, "DONE"), (1, "BROKE")),
    metrics=(
        MetricInfo("virtmesh_toy_played_bytes_total", MetricType.COUNTER, "bytes", (), "Played."),
    ),
    figures=(
        FigureInfo("tunes", MetricType.COUNTER, "tunes"),
        FigureInfo("played", MetricType.COUNTER, "bytes"),
        FigureInfo("loud", MetricType.COUNTER, "tunes", labels=(("level", "loud"),)),
        FigureInfo("playing", MetricType.GAUGE, "requests"),
        FigureInfo("warmth", MetricType.GAUGE, "celsius"),
        FigureInfo("broke", MetricType.COUNTER, "times", is_total=True),
    ),
)
"""A virtio device of a kind that no client knows."""


def register(name: str = "R", offset: int = 0x100, **changed: object) -> pb.Register:
    """Make a register of four bytes."""
    message = encode_register(Register(name, offset, Access.RW, "", ""))
    message.MergeFrom(pb.Register(**changed))  # type: ignore[arg-type]  # any of its fields
    return message


def one(message: pb.Register) -> pb.Interface:
    """Make an interface of one register."""
    return pb.Interface(registers=[message])


def wide_registers(size: int) -> pb.Interface:
    """Make an interface of as many read-only registers of a size as the widest ones may be."""
    return pb.Interface(
        registers=[
            pb.Register(
                name=f"R{number}",
                offset=size * number,
                size_bytes=size,
                widths_bytes=[1],
                access=pb.REGISTER_ACCESS_READ_ONLY,
            )
            for number in range(SPACE_MAX // REGISTER_MAX)
        ]
    )


BAD_INTERFACES = {
    "a million fields": one(pb.Register(fields=[pb.Field()] * 1_000_000)),
    "too many fields": one(register(fields=[pb.Field(name="F", width_bits=1)] * 3000)),
    "fields beyond their register": one(register(fields=[pb.Field(name="F", width_bits=33)])),
    "a field without bits": one(register(fields=[pb.Field(name="F")])),
    "fields that overlap": one(
        register(fields=[pb.Field(name=name, width_bits=2, low_bit=1) for name in "AB"])
    ),
    "a field far away": one(register(fields=[pb.Field(name="F", width_bits=1, low_bit=1 << 31)])),
    "too many registers": pb.Interface(
        registers=[register(offset=0x100 + 4 * n) for n in range(600)]
    ),
    "registers that overlap": pb.Interface(registers=[register("A"), register("B", 0x100)]),
    "a register in every bank": pb.Interface(
        registers=[register("A"), register("B", bank="1")],
    ),
    "an endless register": one(register(size_bytes=1 << 31)),
    "a register that is wider than a configuration space": one(
        register(access=pb.REGISTER_ACCESS_READ_ONLY, size_bytes=0x1000 - 0x100 + 4)
    ),
    "a wide register over a later one": pb.Interface(
        registers=[
            register("A", 0x200),
            register("B", access=pb.REGISTER_ACCESS_READ_ONLY, size_bytes=0x104),
        ]
    ),
    "a register without bytes": one(
        pb.Register(name="R", widths_bytes=[4], access=pb.REGISTER_ACCESS_READ_ONLY)
    ),
    "a register without widths": one(
        pb.Register(name="R", size_bytes=4, access=pb.REGISTER_ACCESS_READ_ONLY)
    ),
    "a width of 0": one(
        pb.Register(name="R", size_bytes=4, widths_bytes=[0], access=pb.REGISTER_ACCESS_READ_ONLY)
    ),
    "an access that is not known": one(pb.Register(name="R", size_bytes=4, widths_bytes=[4])),
    "a name with an escape sequence": one(register("\x1b[2J")),
    "a text of two lines": pb.Interface(title="a\nb"),
    "a name without end": pb.Interface(kind="x" * 1000),
    "a register without a name": one(pb.Register(size_bytes=4)),
    "a figure that is a histogram": pb.Interface(
        figures=[pb.Figure(label="F", type=pb.METRIC_TYPE_HISTOGRAM)]
    ),
    "two figures of one label": pb.Interface(
        figures=[pb.Figure(label="F", type=pb.METRIC_TYPE_GAUGE)] * 2
    ),
    "too many figures": pb.Interface(
        figures=[pb.Figure(label=f"F{n}", type=pb.METRIC_TYPE_GAUGE) for n in range(100)]
    ),
    "a metric of no type": pb.Interface(metrics=[pb.Metric(name="M")]),
    "a feature without a name": pb.Interface(features=[pb.FeatureBit(bit=1)]),
}
"""What no client takes."""
