"""The command line of a process that runs one of our modules."""

from __future__ import annotations

import sys


def module_argv(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of a Python that runs a module.

    `-m` alone puts the working folder first on Python's path: a folder `virtmesh_x` there would be
    a kind of device, and its code would run. `-P` leaves the working folder out; the folders in
    PYTHONPATH stay.
    """
    return (sys.executable, "-P", "-m", module, *arguments)
