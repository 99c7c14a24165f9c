"""What drivers did wrong (DeviceService.GetReport).

with connect() as machine:
    for violation in machine.report("vda").violations:
        print(violation.clause, violation.statement, violation.count)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.api.cpu.v1 import cpu_pb2
from virtmesh_common.api.cpu.v1.cpu_pb2_grpc import CpuServiceStub
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub

if TYPE_CHECKING:
    from virtmesh_client.channel import KernelChannel

__all__ = ["Report", "ViolatingAccess", "Violation", "read_board_report", "read_report"]


BOARD = "board"
"""What the report of a CPU's board is called, beside those of devices."""


@dataclass(frozen=True)
class ViolatingAccess:
    """A register access that broke a rule: offset and width in bytes; the value of a read is 0."""

    offset: int
    width_bytes: int
    is_write: bool
    value: int


@dataclass(frozen=True)
class Violation:
    """A statement that a driver broke, how often, and the first time."""

    rule: str
    """Name of the rule: docs/report.md lists them."""
    specification: str
    clause: str
    statement: str
    count: int
    text: str
    """What the driver did the first time."""
    time_ns: int
    """The first time, by CLOCK_MONOTONIC of the device's host."""
    sequence: int | None
    """Number of the first time in the trace of the device side; None without a recorder."""
    queue: int | None = None
    access: ViolatingAccess | None = None
    pc: int | None = None
    """Program counter of the guest at the first time, where a CPU service knows it."""
    symbol: str = ""
    """The code there, where the guest's file names it: "virtio_init+0x2c"."""
    driver_side: bool = False
    """`sequence` is that of the driver's side: a CPU's board took care of the access."""


@dataclass(frozen=True)
class Report:
    """The report of one device. `driver` is the one that is attached, or was the last one."""

    device: str
    driver: str
    violations: tuple[Violation, ...]


def read_report(channel: KernelChannel, device: str) -> Report:
    """Ask a device for its report. Errors: DeviceNotFound, DeviceLost, NotOffered."""
    stub = DeviceServiceStub(channel.grpc)
    response = channel.ask(stub.GetReport, device_pb2.GetReportRequest(), device)
    violations = tuple(map(_read_violation, response.violations))
    return Report(device, response.driver_name, violations)


def read_board_report(channel: KernelChannel) -> Report:
    """Ask a CPU what its guest did wrong beside the devices. Errors: NotOffered without a CPU."""
    stub = CpuServiceStub(channel.grpc)
    response = channel.ask(stub.GetReport, cpu_pb2.GetReportRequest())
    return Report(BOARD, "", tuple(map(_read_violation, response.violations)))


def _read_violation(message: device_pb2.Violation) -> Violation:
    """Read one violation."""
    first = message.first
    access = None
    if first.HasField("access"):
        access = ViolatingAccess(
            first.access.offset,
            first.access.width_bytes,
            first.access.is_write,
            first.access.value,
        )
    return Violation(
        rule=message.rule,
        specification=message.specification,
        clause=message.clause,
        statement=message.statement,
        count=message.count,
        text=first.text,
        time_ns=first.time_ns,
        sequence=first.sequence if first.HasField("sequence") else None,
        queue=first.queue if first.HasField("queue") else None,
        access=access,
        pc=first.pc if first.HasField("pc") else None,
        symbol=first.symbol,
        driver_side=first.driver_side,
    )
