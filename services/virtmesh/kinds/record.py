"""What a kind of device is, in one record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click

    from virtmesh.drivers.base import Driver
    from virtmesh.mmio.device import Device


@dataclass(frozen=True)
class DeviceKind:
    """One kind of device, as its package exports it: `KIND` in the module `kind`.

    `name` is that of the package. `make(name, **options)` makes a device from the options of the
    command line; errors: click.BadParameter, VirtmeshError.
    """

    name: str
    title: str
    """One line for people, with the specification that the device follows."""
    make: Callable[..., Device]
    options: Sequence[click.Option]
    driver: type[Driver] | None = None
