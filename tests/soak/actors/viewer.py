"""A client that watches the screen, and keeps a picture by what changes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from tests.soak.actors.actor import Actor, Follower
from virtmesh_client.screen.update import Picture

if TYPE_CHECKING:
    from tests.soak.actors.actor import World
    from virtmesh_client.screen.update import Update
    from virtmesh_client.screen.watch import ScreenWatch
    from virtmesh_common.errors import VirtmeshError

LEAVES = 0.3
"""How likely it goes away after a look, to come back."""


class Viewer(Actor):
    """Watches the screen."""

    role = "viewer"

    def __init__(self, world: World, device: str, number: int = 0) -> None:
        super().__init__(world, device, number)
        self._watch: ScreenWatch | None = None
        self._follower: Follower | None = None
        self._lock = threading.Lock()
        self._picture = Picture()

    def step(self) -> None:
        """Watch for a while, and take a screenshot."""
        begin = self.journal.now()
        self.operation = "watch"
        if self._follower is not None and not self._follower.is_alive():
            self.raise_end(self._follower)
            self.close()
        if self._watch is None:
            with self._lock:
                self._picture = Picture()
            self._watch = self.machine.screen(self.device).watch()
            self._follower = Follower(self, self._watch, self._take)
        self.gate.sleep(self.chance.uniform(0.2, 1.5))
        self.did("watch", begin)
        self.operation = "shot"
        begin = self.journal.now()
        shot = self.machine.screen(self.device).shot()
        if not shot.startswith(b"\x89PNG"):
            self.wrong(f"a screenshot of {self.device} is no PNG")
        self.did("shot", begin, len(shot))
        if self.gate.is_open and self.chance.random() < LEAVES:
            self.close()

    def failed(self, error: VirtmeshError) -> None:
        """Begin with a new stream."""
        self.close()

    def end(self) -> None:
        """Close the stream."""
        self.close()

    def close(self) -> None:
        """End the stream."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.close()
        if self._follower is not None:
            self._follower.join()
            self._follower = None

    @property
    def is_watching(self) -> bool:
        """True while the stream has not ended."""
        return self._follower is not None and self._follower.is_alive()

    def shows(self, width: int, height: int, pixels: bytes) -> bool:
        """Return whether the picture that was put together is this one."""
        with self._lock:
            mine = self._picture
            return (mine.width, mine.height) == (width, height) and bytes(mine.data) == pixels

    def _take(self, item: object) -> None:
        with self._lock:
            self._picture.apply(cast("Update", item))
        self.did("update", self.journal.now())
