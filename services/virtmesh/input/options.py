"""What an input device is made of, and its options on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from virtmesh.input.personality import built_in, check_text
from virtmesh.kinds.feature_option import without_option
from virtmesh_common.input.spec import InputFeature
from virtmesh_common.virtio.features import TRANSPORT_FEATURES

QUEUE_SIZE = 64
"""Default of queue_size: as many buffers as Linux posts."""
WAITING = 4096
"""Default of waiting, in packets."""


OFFERED = TRANSPORT_FEATURES
"""Features of every input device; it has none of its own (5.8.3)."""


@dataclass(frozen=True)
class InputOptions:
    """What an input device is made of.

    `personality` is a name or the path of a file, `name_text` the name that the driver reads (that
    of the personality if it is empty), `queue_size` in entries, `waiting` in packets; `without` has
    the bits of features that it does not offer.
    """

    personality: str
    serial: str = ""
    name_text: str = ""
    queue_size: int = QUEUE_SIZE
    waiting: int = WAITING
    without: int = 0


OPTIONS = (
    click.Option(
        ["--personality"],
        required=True,
        metavar="NAME|FILE",
        help=f"What it is: {', '.join(built_in())}, or the path of a .toml file.",
    ),
    click.Option(["--serial"], default="", help="Serial number, at most 128 bytes."),
    click.Option(
        ["--name-text"],
        default="",
        help="Name that drivers read, at most 128 bytes  [default: the personality's]",
    ),
    click.Option(
        ["--queue-size"],
        type=click.IntRange(1, 1024),
        default=QUEUE_SIZE,
        show_default=True,
        help="Largest size of a queue, in entries: a power of two.",
    ),
    click.Option(
        ["--waiting"],
        type=click.IntRange(1, 1 << 20),
        default=WAITING,
        show_default=True,
        help="Most packets that wait for the driver.",
    ),
    without_option(OFFERED, InputFeature),
)
"""Options of `virtmesh-device input`."""


def check_options(**values: Any) -> InputOptions:
    """Check what click can't. Errors: click.BadParameter."""
    queue_size = values["queue_size"]
    if queue_size & (queue_size - 1):
        raise click.BadParameter(f"{queue_size} is no power of two", param_hint="--queue-size")
    for key in ("serial", "name_text"):
        hint = f"--{key.replace('_', '-')}"
        try:
            check_text("it", values[key])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=hint) from error
    return InputOptions(**values)
