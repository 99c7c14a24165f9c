"""Finding kinds, by one rule: a kind is a package with a module `kind` that holds a `KIND`.

The package is `virtmesh.NAME` or, anywhere on Python's path, `virtmesh_NAME`; NAME is the name of
the kind. A process that is started in an environment finds what that environment has: an installed
package, or a folder in PYTHONPATH.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import virtmesh
from virtmesh.kinds.record import DeviceKind
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from virtmesh.drivers.base import Driver

PREFIX = "virtmesh_"
"""Begins the names of packages outside `virtmesh`."""


@cache
def packages() -> dict[str, str]:
    """Return the names of the packages that are kinds, by name of the kind, without importing any.

    Where two packages have the name, the one inside `virtmesh` wins, then the first on the path.
    """
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(virtmesh.__path__):
        if has_kind(module):
            found.setdefault(module.name, f"{virtmesh.__name__}.{module.name}")
    for module in pkgutil.iter_modules():
        if module.name.startswith(PREFIX) and has_kind(module):
            found.setdefault(module.name.removeprefix(PREFIX), module.name)
    return dict(sorted(found.items()))


def has_kind(module: pkgutil.ModuleInfo) -> bool:
    """Say whether a package has a module `kind`."""
    if not module.ispkg:
        return False
    spec = module.module_finder.find_spec(module.name, None)
    folders = (spec and spec.submodule_search_locations) or ()
    return any((Path(folder) / "kind.py").is_file() for folder in folders)


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds, sorted; nothing is imported."""
    return tuple(packages())


@cache
def find_kind(name: str) -> DeviceKind:
    """Return a kind. Errors: BadMachine when there is none of that name, or it is no kind."""
    package = packages().get(name)
    if package is None:
        raise BadMachine(f"no kind of device is named {name!r}: there are {', '.join(packages())}")
    kind = getattr(importlib.import_module(f"{package}.kind"), "KIND", None)
    if not isinstance(kind, DeviceKind) or kind.name != name:
        raise BadMachine(f"{package}.kind: KIND must be a DeviceKind with the name {name!r}")
    return kind


def all_kinds() -> tuple[DeviceKind, ...]:
    """Return every kind, in the order of their names. Errors: BadMachine."""
    return tuple(find_kind(name) for name in packages())


def find_driver(compatible: tuple[str, ...], device_id: int = 0) -> type[Driver] | None:
    """Return the driver for the compatible strings of a node, if there is one.

    `device_id` is the virtio device ID; 0 for what is no virtio device. Errors: BadMachine.
    """
    drivers = (kind.driver for kind in all_kinds() if kind.driver is not None)
    return next(
        (
            driver
            for driver in drivers
            if driver.compatible in compatible and driver.device_id == device_id
        ),
        None,
    )
