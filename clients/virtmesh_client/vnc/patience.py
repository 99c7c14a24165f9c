"""The time limit of messages: one watch for all of them, so that it costs each message little."""

from __future__ import annotations

import asyncio

from virtmesh_client.vnc.errors import ViewerError


class Patience:
    """Waits so many seconds for the rest of a message."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._end: float | None = None

    def begin(self) -> None:
        """Wait for the rest of a message from now on."""
        self._end = self._clock() + self._seconds

    def stop(self) -> None:
        """Wait no longer: the message is there, or the viewer has left."""
        self._end = None

    async def run(self) -> None:
        """Watch until the task is cancelled. Errors: ViewerError, when a message takes too long."""
        while True:
            watched = self._end
            # A message that begins while this sleeps ends later than the sleep does.
            left = self._seconds if watched is None else watched - self._clock()
            if left <= 0:
                raise ViewerError(f"its message did not end within {self._seconds:g} s")
            await asyncio.sleep(left)
