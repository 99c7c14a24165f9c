"""The option --faults: what a device does wrong from its start on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh_common.fault.spec import SEPARATOR, FaultSpec, check_kind, parse_fault
from virtmesh_common.fault.words import PROCESS, VIRTIO

if TYPE_CHECKING:
    from virtmesh.kinds.record import DeviceKind


def faults_of(kind: DeviceKind) -> frozenset[str]:
    """Return the faults on demand that devices of a kind can have."""
    return kind.faults | PROCESS | (VIRTIO if kind.virtio_device_id else frozenset())


def parse_lasting(text: str) -> FaultSpec:
    """Read a fault that a service has from its start on. Errors: ValueError.

    One that ends the process would end each process that is started after it.
    """
    spec = parse_fault(text)
    if spec.kind in PROCESS:
        raise ValueError(
            f"{spec.kind} would come again with each start of the service: order it with"
            " `virtmesh fault add`"
        )
    return spec


def parse_for(kind: DeviceKind, text: str) -> FaultSpec:
    """Read a fault that devices of a kind have from their start on. Errors: ValueError."""
    spec = parse_lasting(text)
    check_kind(spec, faults_of(kind), f"devices of kind {kind.name}")
    return spec


class FaultWords(click.ParamType[tuple[FaultSpec, ...]]):
    """Faults in words."""

    name = "faults"

    def convert(
        self,
        value: str | tuple[FaultSpec, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[FaultSpec, ...]:
        """Return the faults."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(parse_lasting(text) for text in value.split(SEPARATOR))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def faults_option() -> click.Option:
    """Make the option of every device."""
    return click.Option(
        ["--faults"],
        type=FaultWords(),
        default=(),
        metavar=f"FAULT[{SEPARATOR}...]",
        help="Faults on demand from the start on, in the words of `virtmesh fault add`.",
    )
