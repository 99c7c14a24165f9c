"""What the commands of `virtmesh screen` share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from virtmesh_client.screen.models import Rectangle

scanout_option = click.option(
    "--scanout",
    type=click.IntRange(0, 15),
    default=0,
    show_default=True,
    help="Which screen of the GPU.",
)


class RegionType(click.ParamType["Rectangle"]):
    """A rectangle of a screen: first column, first row, width, height."""

    name = "region"

    def convert(
        self,
        value: str | Rectangle,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Rectangle:
        """Return the four numbers."""
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"([0-9]{1,5}),([0-9]{1,5}),([0-9]{1,5}),([0-9]{1,5})", value)
        if match is None or not int(match[3]) or not int(match[4]):
            self.fail(f"{value!r} is no region: write X,Y,WIDTH,HEIGHT in pixels", param, ctx)
        return int(match[1]), int(match[2]), int(match[3]), int(match[4])
