"""What the commands of `virtmesh screen` share."""

from __future__ import annotations

import click

scanout_option = click.option(
    "--scanout",
    type=click.IntRange(0, 15),
    default=0,
    show_default=True,
    help="Which screen of the GPU.",
)
