"""The option --quirks: what a device tolerates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh.kinds.feature_option import SEPARATOR
from virtmesh.mmio.quirks import Quirk, find_quirks

if TYPE_CHECKING:
    from collections.abc import Sequence


class QuirkNames(click.ParamType[tuple[Quirk, ...]]):
    """Quirks by name, out of those that a device knows."""

    name = "quirks"

    def __init__(self, known: Sequence[Quirk]) -> None:
        self._known = known

    def convert(
        self,
        value: str | tuple[Quirk, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[Quirk, ...]:
        """Return the quirks."""
        if isinstance(value, tuple):
            return value
        try:
            return find_quirks([name.strip() for name in value.split(SEPARATOR)], self._known)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def quirks_option(known: Sequence[Quirk]) -> click.Option:
    """Make the option of a kind of device."""
    return click.Option(
        ["--quirks"],
        type=QuirkNames(known),
        default=(),
        metavar=f"QUIRK[{SEPARATOR}...]",
        help="Serve drivers that break a rule: " + ", ".join(quirk.name for quirk in known) + ".",
    )
