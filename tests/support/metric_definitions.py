"""All metrics that virtmesh defines, for the documentation and for tests."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import virtmesh
from virtmesh.telemetry.definitions import Definition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEFT_OUT = (f"{virtmesh.__name__}.api.", f"{virtmesh.__name__}.testing.")
"""Packages without metrics: generated code and fakes."""


def definitions_by_area() -> Mapping[str, list[Definition]]:
    """Return the metrics by the first line of the docstring of the module that defines them."""
    areas: dict[str, list[Definition]] = {}
    for module in pkgutil.walk_packages(virtmesh.__path__, f"{virtmesh.__name__}."):
        if module.name.startswith(LEFT_OUT) or module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        stated = [value for value in vars(loaded).values() if isinstance(value, Definition)]
        if stated:
            title = (loaded.__doc__ or "").partition("\n")[0].rstrip(".")
            areas[title] = stated
    return areas


def all_definitions() -> Iterator[Definition]:
    """Return every metric."""
    for stated in definitions_by_area().values():
        yield from stated
