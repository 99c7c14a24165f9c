"""The options of a GPU on the command line, and the GPU that is made of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from virtmesh.gpu.model import GpuModel
from virtmesh.gpu.settings import (
    MEMORY_MAX,
    OFFERED,
    QUEUE_SIZE,
    SCANOUTS_MAX,
    GpuOptions,
    Mode,
)
from virtmesh.kinds.feature_option import without_option
from virtmesh.kinds.option_types import Size, check_queue_size
from virtmesh.kinds.quirk_option import quirks_option
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.quirks import QUIRKS
from virtmesh_common.gpu.errors import BadMode
from virtmesh_common.gpu.spec import PIXEL, GpuFeature

if TYPE_CHECKING:
    from collections.abc import Collection

    from virtmesh.mmio.quirks import Quirk


class ModeType(click.ParamType[Mode]):
    """A mode, such as 1280x800."""

    name = "WIDTHxHEIGHT"

    def convert(
        self, value: str | Mode, param: click.Parameter | None, ctx: click.Context | None
    ) -> Mode:
        """Return the mode."""
        if isinstance(value, Mode):
            return value
        match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value)
        if match is None:
            self.fail(f"{value!r} is no mode: write WIDTHxHEIGHT, such as 1280x800", param, ctx)
        try:
            return Mode(int(match[1]), int(match[2]))
        except BadMode as error:
            self.fail(error.message, param, ctx)


OPTIONS = (
    click.Option(
        ["--scanouts"],
        type=click.IntRange(1, SCANOUTS_MAX),
        default=1,
        show_default=True,
        help="Screens.",
    ),
    click.Option(
        ["--mode"],
        type=ModeType(),
        default="1280x800",
        show_default=True,
        help="Width and height that each screen prefers, in pixels.",
    ),
    click.Option(
        ["--memory-max"],
        type=Size(),
        default=MEMORY_MAX,
        show_default=True,
        help="Most memory for what the driver draws, in bytes.",
    ),
    click.Option(
        ["--queue-size"],
        type=click.IntRange(2, 1024),
        default=QUEUE_SIZE,
        show_default=True,
        help="Largest size of a queue, in entries: a power of two.",
    ),
    without_option(OFFERED, GpuFeature),
    quirks_option(QUIRKS),
)
"""Options of `virtmesh-device gpu`."""


def check(*, quirks: Collection[Quirk] = (), **values: Any) -> GpuOptions:
    """Check what click can't. Errors: click.BadParameter."""
    del quirks
    options = GpuOptions(**values)
    check_queue_size(options.queue_size)
    mode = options.mode
    needed = 2 * mode.width * mode.height * PIXEL
    if options.memory_max < needed:
        raise click.BadParameter(
            f"{options.memory_max} bytes are too few: a picture of {mode} and what the driver draws"
            f" in take {needed}",
            param_hint="--memory-max",
        )
    return options


def make(name: str, *, quirks: Collection[Quirk] = (), **values: Any) -> VirtioMmio:
    """Make a GPU from the options of the command line. Errors: click.BadParameter."""
    return VirtioMmio(GpuModel(name, check(**values)), quirks)
