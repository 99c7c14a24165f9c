"""Drivers, one a file. A driver is found by what it drives; there is no list of them to edit."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from virtmesh.drivers.base import VirtIODriver


@cache
def all_drivers() -> tuple[type[VirtIODriver], ...]:
    """Return every driver of this package."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    return tuple(
        found
        for module in modules
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, VirtIODriver)
        and not inspect.isabstract(found)
        and found.__module__ == module.__name__
    )


def find_driver(compatible: tuple[str, ...], device_id: int) -> type[VirtIODriver] | None:
    """Return the driver for a compatible string and a virtio device ID, if there is one."""
    return next(
        (
            driver
            for driver in all_drivers()
            if driver.compatible in compatible and driver.device_id == device_id
        ),
        None,
    )
