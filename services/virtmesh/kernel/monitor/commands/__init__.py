"""The commands of the monitor, one idea a file. A file here is all that a new one needs."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from virtmesh.kernel.monitor.command import Command

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def all_commands() -> Mapping[str, Command]:
    """Return every command of this package by name, in alphabetical order."""
    modules = [
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    ]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Command)]
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}
