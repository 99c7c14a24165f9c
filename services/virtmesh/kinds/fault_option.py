"""The option --faults: what a device does wrong from its start on."""

from __future__ import annotations

import click

from virtmesh_common.fault.spec import SEPARATOR, FaultSpec, parse_fault


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
            return tuple(parse_fault(text) for text in value.split(SEPARATOR))
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
