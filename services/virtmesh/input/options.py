"""The options of an input device on the command line, and the device that is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh.input.model import InputModel
from virtmesh.input.personality import SUFFIX, Personality, built_in, check_text, load
from virtmesh.input.settings import OFFERED, QUEUE_SIZE, WAITING, InputOptions
from virtmesh.kinds.feature_option import without_option
from virtmesh.kinds.option_types import check_queue_size
from virtmesh.kinds.quirk_option import quirks_option
from virtmesh.sandbox import Access, Needs
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.quirks import QUIRKS
from virtmesh_common.input.spec import InputFeature

if TYPE_CHECKING:
    from collections.abc import Collection

    from virtmesh.mmio.quirks import Quirk

OPTIONS = (
    click.Option(
        ["--personality"],
        required=True,
        metavar="NAME|FILE",
        help=f"Kind of input device: {', '.join(built_in())}, or the path of a .toml file.",
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
        help="Most packets that wait for the driver; later ones are refused or made to wait.",
    ),
    without_option(OFFERED, InputFeature),
    quirks_option(QUIRKS),
)
"""Options of `virtmesh-device input`."""


def check_options(**values: Any) -> InputOptions:
    """Check what click can't. Errors: click.BadParameter."""
    check_queue_size(values["queue_size"])
    for key in ("serial", "name_text"):
        hint = f"--{key.replace('_', '-')}"
        try:
            check_text("the text", values[key])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=hint) from error
    return InputOptions(**values)


def make(name: str, *, quirks: Collection[Quirk] = (), **values: Any) -> VirtioMmio:
    """Make an input device from the options of the command line.

    Errors: click.BadParameter for options that make no sense, and for a bad personality.
    """
    options, personality = check(**values)
    return VirtioMmio(InputModel(name, options, personality), quirks)


def check(*, quirks: Collection[Quirk] = (), **values: Any) -> tuple[InputOptions, Personality]:
    """Check the options and read the personality. Errors: those of `make`."""
    del quirks
    options = check_options(**values)
    try:
        return options, load(options.personality)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--personality") from error


LAYOUTS = ("/usr/share/X11", "/etc/X11/xkb", "/etc/xkb", "/usr/share/xkeyboard-config-2")
"""Where libxkbcommon looks for layouts: a text is typed by one."""
LAYOUTS_OF_USER = (".config/xkb", ".xkb", ".XCompose")
LAYOUT_VARIABLES = ("XKB_CONFIG_ROOT", "XKB_CONFIG_EXTRA_PATH", "XLOCALEDIR", "XCOMPOSEFILE")


def needs(*, personality: str, **_others: Any) -> Needs:
    """Return what the service of an input device needs of its sandbox."""
    home = os.environ.get("HOME")
    paths = [
        *LAYOUTS,
        *(f"{home}/{name}" for name in LAYOUTS_OF_USER if home),
        *(os.environ[name] for name in LAYOUT_VARIABLES if os.environ.get(name)),
    ]
    if personality.endswith(SUFFIX):
        paths.append(personality)
    return Needs([(Path(path), Access.READ) for path in paths])
