"""The option --without: features that a device is not to offer.

With it, a driver is tested against a device that lacks them, and a guest is made to do without
them: split rings in user-mode Linux, for one, which takes packed ones wherever they are offered.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from enum import IntFlag

SEPARATOR = "+"
"""Between features: a comma parts the options of a device on the client's command line."""


class Features(click.ParamType[int]):
    """Feature bits by name, such as ring_packed+event_idx. `family`: those of one kind of device.

    A name is the specification's, in any case; what leads up to its "_F_" may be left out.
    """

    name = "features"

    def __init__(self, offered: int, family: type[IntFlag]) -> None:
        flags = (*Feature, *family)
        self._offered = {
            str(flag.name).partition("_F_")[2].lower(): int(flag)
            for flag in flags
            if flag & offered and flag is not Feature.VIRTIO_F_VERSION_1
        }

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the bits."""
        if isinstance(value, int):
            return value
        return sum({self._bit(name, param, ctx) for name in value.split(SEPARATOR)})

    def _bit(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bit of one feature."""
        short = name.strip().lower()
        short = short.partition("_f_")[2] or short
        if short not in self._offered:
            known = ", ".join(self._offered)
            near = get_close_matches(short, self._offered, n=1)
            mend = f"did you mean {near[0]}?" if near else f"it can do without {known}"
            self.fail(f"{name!r} is no feature that the device can do without: {mend}", param, ctx)
        return self._offered[short]


def without_option(offered: int, family: type[IntFlag]) -> click.Option:
    """Make the option of a kind of device, which offers these features as a rule."""
    return click.Option(
        ["--without"],
        type=Features(offered, family),
        default=0,
        metavar=f"FEATURE[{SEPARATOR}...]",
        help="Don't offer these features, such as ring_packed or event_idx.",
    )
