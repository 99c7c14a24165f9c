"""Lets all actors work, has all of them rest, and ends them."""

from __future__ import annotations

import threading
import time


class Gate:
    """What actors pass before each operation. It is closed while the books are balanced."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = False
        self._ended = False
        self._busy: dict[str, float] = {}
        """Since when actors are at work, in `time.monotonic`."""

    def enter(self, name: str) -> bool:
        """Wait until there is work; False at the end. An actor that enters rests until then."""
        with self._changed:
            self._busy.pop(name, None)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open or self._ended)
            if self._ended:
                return False
            self._busy[name] = time.monotonic()
            return True

    def leave(self, name: str) -> None:
        """Note that an actor is gone."""
        with self._changed:
            self._busy.pop(name, None)
            self._changed.notify_all()

    @property
    def is_open(self) -> bool:
        """True while there is work: who works for long looks now and then."""
        with self._changed:
            return self._open and not self._ended

    def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than the gate is open."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._ended, seconds)

    def open(self) -> None:
        """Let all work."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def rest(self, seconds: float) -> dict[str, float]:
        """Wait until all rest; return who does not by then, and how long each is at work."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy, seconds)
            now = time.monotonic()
            return {name: now - since for name, since in self._busy.items()}

    def end(self) -> None:
        """End all."""
        with self._changed:
            self._ended = True
            self._open = False
            self._changed.notify_all()
