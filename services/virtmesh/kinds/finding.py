"""Finding kinds, by one rule: a kind is a package with a module `kind` that holds a `KIND`.

The package is `virtmesh.NAME` or, anywhere on Python's path, `virtmesh_NAME`; NAME is the name of
the kind, where an underscore stands for a dash. A process finds what its environment has: an
installed package, or a folder in PYTHONPATH. The working folder is none of them: what starts a
process with `python -m` adds `-P`.

A package that can't be imported, or whose `KIND` is no kind, is broken. It takes no other kind with
it: `find_kind` says what is wrong with it, `all_kinds` leaves it out.
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
from virtmesh_common.virtio.mmio import COMPATIBLE

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "virtmesh_"
"""Begins the names of packages outside `virtmesh`."""


@cache
def packages() -> Mapping[str, str]:
    """Return the names of the packages that are kinds, by name of the kind, without importing any.

    Where two packages have the name, the one inside `virtmesh` wins, then the first on the path.
    """
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(virtmesh.__path__):
        if has_kind(module):
            found.setdefault(kind_name(module.name), f"{virtmesh.__name__}.{module.name}")
    for module in pkgutil.iter_modules():
        if module.name.startswith(PREFIX) and has_kind(module):
            found.setdefault(kind_name(module.name.removeprefix(PREFIX)), module.name)
    return dict(sorted(found.items()))


def has_kind(module: pkgutil.ModuleInfo) -> bool:
    """Say whether a package has a module `kind`."""
    if not module.ispkg:
        return False
    spec = module.module_finder.find_spec(module.name, None)
    folders = (spec and spec.submodule_search_locations) or ()
    return any((Path(folder) / "kind.py").is_file() for folder in folders)


def kind_name(package: str) -> str:
    """Return the name of the kind of a package, without its prefix."""
    return package.replace("_", "-")


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds, sorted; nothing is imported."""
    return tuple(packages())


def own_kind_names() -> tuple[str, ...]:
    """Return the names of the kinds inside `virtmesh`; nothing is imported."""
    inside = f"{virtmesh.__name__}."
    return tuple(name for name, package in packages().items() if package.startswith(inside))


def find_kind(name: str) -> DeviceKind:
    """Return a kind. Errors: BadMachine for a name that no kind has, and for a broken kind."""
    if name not in packages():
        raise BadMachine(f"no kind of device is named {name!r}: there are {', '.join(packages())}")
    found = load(name)
    if isinstance(found, str):
        raise BadMachine(found)
    return found


def all_kinds() -> tuple[DeviceKind, ...]:
    """Return every kind that is not broken, in the order of their names."""
    return tuple(kind for name in packages() if isinstance(kind := load(name), DeviceKind))


def broken_kinds() -> Mapping[str, str]:
    """Return what is wrong with each broken kind, by its name."""
    return {name: why for name in packages() if isinstance(why := load(name), str)}


def kind_of(compatible: tuple[str, ...], virtio_device_id: int = 0) -> DeviceKind | None:
    """Return the kind of the device that a node with these compatible strings stands for, if any.

    `virtio_device_id` is what a virtio device says of itself; 0 for what is no virtio device.
    """
    return next((kind for kind in all_kinds() if _is_of(kind, compatible, virtio_device_id)), None)


def _is_of(kind: DeviceKind, compatible: tuple[str, ...], virtio_device_id: int) -> bool:
    """Say whether a device is of a kind."""
    if kind.platform is not None:
        return kind.platform.compatible in compatible
    return COMPATIBLE in compatible and kind.virtio_device_id == virtio_device_id


@cache
def load(name: str) -> DeviceKind | str:
    """Import the package of a kind; return the kind, or what is wrong with its package."""
    module = f"{packages()[name]}.kind"
    try:
        kind = getattr(importlib.import_module(module), "KIND", None)
    except Exception as error:  # noqa: BLE001 - whatever the package raises, it is broken
        why = f"{type(error).__name__}: {error}"
        return f"the kind {name} can't be used: importing {module} fails with {why}"
    if not isinstance(kind, DeviceKind) or kind.name != name:
        return f"the kind {name} can't be used: {module}.KIND must be a DeviceKind named {name!r}"
    return kind
