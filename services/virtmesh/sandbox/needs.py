"""What a service needs beyond what every service does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

TCP = re.compile(r"(?:\[[^\]]*\]|[^:/\s]+):(\d{1,5})")
"""HOST:PORT."""


class Access(StrEnum):
    """What may be done with a path, and with what is below it."""

    READ = "read"
    """Read files and list folders."""
    WRITE = "write"
    """Read, write, cut off and control a file that is there."""
    CREATE = "create"
    """Make files in a folder, and write any file there."""
    SOCKETS = "sockets"
    """Make sockets in a folder, and remove names from it."""


@dataclass(frozen=True)
class Needs:
    """What a service needs beyond the lists of `readable.py` and `system_calls.py`."""

    paths: Sequence[tuple[Path, Access]] = ()
    """Paths that are missing are left out."""
    bind: Sequence[int] = ()
    """TCP ports to listen at; 0: any that the system picks."""
    connects: bool = False
    """True for a service that opens connections, by unix sockets or TCP, all of its life."""
    connect: Sequence[int] | None = ()
    """TCP ports to connect to; None: all."""
    system_calls: Sequence[str] = ()
    unsealed_calls: Sequence[str] = ()
    """System calls until the service is sealed, of those that are unknown from the start."""
    ioctls: Sequence[int] = ()
    """Requests of ioctl."""

    def __add__(self, other: Needs) -> Needs:
        """Return what both need."""
        all_ports = self.connect is None or other.connect is None
        return Needs(
            (*self.paths, *other.paths),
            (*self.bind, *other.bind),
            self.connects or other.connects,
            None if all_ports else (*(self.connect or ()), *(other.connect or ())),
            (*self.system_calls, *other.system_calls),
            (*self.unsealed_calls, *other.unsealed_calls),
            (*self.ioctls, *other.ioctls),
        )


def needs_of_paths(paths: Iterable[Path]) -> Needs:
    """Return what a service needs that reads and writes files, or makes those that are missing."""
    needed: list[tuple[Path, Access]] = []
    for path in paths:
        if path.exists():
            needed.append((path, Access.READ if path.is_dir() else Access.WRITE))
        else:
            needed += [(path.parent, Access.CREATE)]
    return Needs(needed)


def ports_in(values: Iterable[object]) -> tuple[int, ...]:
    """Return the ports of values that are HOST:PORT, or tuples and lists of such."""
    found = (TCP.fullmatch(one) for one in _texts(values))
    return tuple(int(match[1]) for match in found if match and int(match[1]) < 1 << 16)


def socket_folders(values: Iterable[object]) -> Sequence[tuple[Path, Access]]:
    """Return the folders of values that are unix:PATH, or tuples and lists of such."""
    paths = (Path(one.removeprefix("unix:")) for one in _texts(values) if one.startswith("unix:"))
    return tuple((path.absolute().parent, Access.SOCKETS) for path in paths)


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _texts(value)
