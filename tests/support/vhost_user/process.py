"""A disk service for vhost-user front ends in its own process, which a test can kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.killable_service import KillableService

if TYPE_CHECKING:
    from pathlib import Path


class VhostDiskProcess(KillableService):
    """A disk of 1 MiB in a folder. Its image stays when the process ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vhost.sock"
        self.image = folder / "disk.img"
        super().__init__(
            folder,
            *("blk", "--name", "vda", "--vhost-user", str(self.path)),
            *("--image", str(self.image), "--size", "1M"),
        )
