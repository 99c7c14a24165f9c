"""How much memory this container may have: guest RAM counts as the CPU service's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""What a container sees of its own control group, of version 2 and of version 1. Outside of a
container they are not there, or have a number beyond all memory."""


def check_memory_limit(size: int, files: Iterable[Path] = LIMITS) -> None:
    """Refuse guest RAM of `size` bytes where a guest that uses it would be killed.

    Errors: BadMachine.
    """
    limit = min(filter(None, map(_read_limit, files)), default=size)
    if size > limit:
        raise BadMachine(
            f"guest RAM of {size >> 20} MiB is more than the {limit >> 20} MiB that this container"
            " may have: give the machine less memory, or the container more"
            " (VIRTMESH_GUEST_LIMIT in deploy/compose/cpu.yml)"
        )


def _read_limit(path: Path) -> int | None:
    """Return a limit in bytes; None for a file that has none, or is not there."""
    try:
        text = path.read_text()
    except OSError:
        return None
    return int(text) if text.strip().isdecimal() else None
