"""The report of a device: what its driver broke (DeviceService.GetReport)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from virtmesh.report.observer import CLAUSE, WIDTH_MAX, WRITE
from virtmesh.report.rule import VIRTIO
from virtmesh.report.rules import find_rule
from virtmesh_common.api.device.v1 import device_pb2 as pb

if TYPE_CHECKING:
    from virtmesh.mmio.device import Device
    from virtmesh.report.observer import Observer

OUTSIDE = "A rule that the device's own messages name: see the text of the first violation."
"""The statement of a violation that no rule of the tables is about."""


@runtime_checkable
class Reported(Protocol):
    """A device whose driver is observed."""

    @property
    def observer(self) -> Observer:
        """The observer."""


def make_report(device: Device, driver_name: str) -> pb.GetReportResponse:
    """Return the violations of the driver that is attached, or was."""
    if isinstance(device, Reported):
        device.observer.refresh()
    return pb.GetReportResponse(
        driver_name=driver_name, violations=map(_violation, device.interrupt.violations())
    )


def _violation(
    row: tuple[str, int, str, int | None, int, int, int, int, int, int | None],
) -> pb.Violation:
    """Return the message of a row of Interrupt.violations."""
    name, count, text, sequence, time_ns, detail, queue, token, value, tag = row
    first = pb.FirstViolation(sequence=sequence, time_ns=time_ns, text=text, request_tag=tag)
    if detail:
        first.access.offset = token
        first.access.width_bytes = detail & WIDTH_MAX
        first.access.is_write = bool(detail & WRITE)
        first.access.value = value
    elif tag is None:
        first.queue = queue
    return spell_violation(name, count, first)


def spell_violation(name: str, count: int, first: pb.FirstViolation) -> pb.Violation:
    """Return the message of a violation, with what the tables say of its rule."""
    rule = find_rule(name)
    clauses = CLAUSE.findall(first.text)
    return pb.Violation(
        rule=name,
        specification=rule.specification if rule else VIRTIO,
        clause=rule.clause if rule else next(reversed(clauses), ""),
        statement=rule.statement if rule else OUTSIDE,
        count=count,
        first=first,
    )
