"""The options of a device in a machine file, checked before anything of the machine starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh.kinds import find_kind
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from virtmesh.machine import DeviceEntry


def check_options(entry: DeviceEntry) -> None:
    """Check the options of a device as its service will.

    Errors: BadMachine for options that it does not take; those of the kind's own check.
    """
    kind = find_kind(entry.kind)
    command = click.Command(kind.name, params=list(kind.options), callback=kind.check)
    try:
        command.main(entry.option_arguments(), standalone_mode=False)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        raise BadMachine(f"{entry.name}: {message}") from error
