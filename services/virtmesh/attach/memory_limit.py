"""How much guest memory a device takes, and what its container allows.

A page of shared memory is charged to the first process that touches it. A driver's memory may be
sparse: a guest of QEMU has touched little of its RAM when it hands it over, and a disk reads into
pages that nobody has touched. So a device may have to pay for all of it; where its container has
less, the system ends the device. No call writes to a page on another's account, and to refuse
holes would refuse ordinary guests. So the size is bounded, and it is told where it does not fit.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import structlog

from virtmesh_common.errors import MemoryRefused

log = structlog.get_logger(__name__)

GUEST_MEMORY_MAX = 1 << 40
"""Most bytes of memory of a driver, unless an option says otherwise: 1 TiB."""
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def check_size(size: int, limit: int) -> None:
    """Check how much memory a driver hands over, in bytes. Errors: MemoryRefused."""
    if size > limit:
        raise MemoryRefused(
            f"{size} bytes of guest memory came, and this service takes at most {limit}:"
            " hand less over, or start it with a larger --guest-memory-max"
        )


def warn_of(size: int) -> None:
    """Log that a driver's memory is more than the container of this service allows, if it is."""
    allowed = container_limit()
    if allowed is not None and size > allowed:
        log.warning(
            "a driver that has not touched its memory can use up what this service may have, and"
            " the system ends it then: bound it by --guest-memory-max",
            guest_memory_bytes=size,
            allowed_bytes=allowed,
        )


def container_limit(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int | None:
    """Return how many bytes the control group of this process may have; None: any.

    The least of its own limit and those above it (cgroup v2; another version: None).
    """
    with suppress(OSError, ValueError):
        lines = membership.read_text().splitlines()
        own = next((line[4:] for line in lines if line.startswith("0::/")), None)
        if own is None:
            return None
        place = Path(own)
        limits = [
            text
            for group in (place, *place.parents)
            if (text := read(cgroups / group / "memory.max")).isdigit()
        ]
        return min(map(int, limits), default=None)
    return None


def read(path: Path) -> str:
    """Return what a file says; nothing if there is none."""
    with suppress(OSError):
        return path.read_text().strip()
    return ""
