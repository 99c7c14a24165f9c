"""Drivers, one a file. A driver is found by what it drives; there is no list of them to edit."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from virtmesh.drivers.base import Driver


@cache
def all_drivers() -> tuple[type[Driver], ...]:
    """Return every driver of this package."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    return tuple(
        found
        for module in modules
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Driver)
        and not inspect.isabstract(found)
        and found.__module__ == module.__name__
    )


def find_driver(compatible: tuple[str, ...], device_id: int = 0) -> type[Driver] | None:
    """Return the driver for the compatible strings of a node, if there is one.

    `device_id` is the virtio device ID; 0 for what is no virtio device.
    """
    return next(
        (
            driver
            for driver in all_drivers()
            if driver.compatible in compatible and driver.device_id == device_id
        ),
        None,
    )
