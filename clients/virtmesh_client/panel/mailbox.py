"""What waits for one browser. Of a state only the newest waits, and of events a bounded number."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

EVENTS_WAITING = 600
"""Most events of one stream that wait: the oldest are dropped, and counted."""


class Mailbox:
    """States and events for one browser. All methods run on the event loop, and none waits."""

    def __init__(self) -> None:
        self.wants: frozenset[str] = frozenset()
        """What the browser shows now: topics of the hub."""
        self._states: dict[str, Any] = {}
        self._events: dict[str, deque[Any]] = {}
        self._dropped: dict[str, int] = {}
        self._filled = asyncio.Event()

    def put_state(self, topic: str, state: object) -> None:
        """Put a state in the place of the one before it."""
        self._states[topic] = state
        self._filled.set()

    def put_events(self, topic: str, events: Iterable[object]) -> None:
        """Add events."""
        waiting = self._events.setdefault(topic, deque())
        waiting.extend(events)
        while len(waiting) > EVENTS_WAITING:
            waiting.popleft()
            self._dropped[topic] = self._dropped.get(topic, 0) + 1
        if waiting:
            self._filled.set()

    def forget(self, topic: str) -> None:
        """Throw away what waits of a topic: the browser wants it no more."""
        for waiting in (self._states, self._events, self._dropped):
            waiting.pop(topic, None)

    async def take(self) -> list[dict[str, Any]]:
        """Wait until something is there, and take all of it: a message for each topic."""
        await self._filled.wait()
        self._filled.clear()
        messages = [{"topic": topic, "state": state} for topic, state in self._states.items()]
        messages += [
            {"topic": topic, "events": list(events), "dropped": self._dropped.get(topic, 0)}
            for topic, events in self._events.items()
            if events
        ]
        self._states, self._events, self._dropped = {}, {}, {}
        return messages
