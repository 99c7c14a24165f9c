"""The dashboard of a kind: its own, or one that is generated from its metrics.

`python -m virtmesh.kinds.dashboard KIND` prints it as JSON that Grafana imports. It needs the extra
`dashboards` of the distribution.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from virtmesh.dashboards.generated import generated_board
from virtmesh.kinds.finding import find_kind
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from virtmesh.dashboards.board import Board
    from virtmesh.kinds.record import DeviceKind


def board_of(kind: DeviceKind) -> Board:
    """Return the dashboard of a kind."""
    return kind.dashboard or generated_board(kind.name, kind.title, kind.metrics)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind")
def main(kind: str) -> None:
    """Print the Grafana dashboard of a kind of device as JSON."""
    try:
        from virtmesh.dashboards.render import render  # noqa: PLC0415 - an extra brings its SDK
    except ImportError as error:
        raise click.ClickException(
            f"{error.name} is missing: run pip install 'virtmesh[dashboards]'"
        ) from error
    try:
        sys.stdout.write(render(board_of(find_kind(kind))))
    except BadMachine as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
