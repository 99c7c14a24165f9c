"""The option of how long a command waits for a disk that is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.retry import RETRY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., Any]")


def retry_option(command: Command) -> Command:
    """Give a command the option --retry-for; it gets `retry_for`, in seconds."""
    option = click.option(
        "--retry-for",
        type=Seconds(),
        default=RETRY_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a disk whose service has died; 0: fail at once.",
    )
    return option(command)
