"""What a serial port of the machine has said, kept while tests run.

A thread of its own receives it, because a port whose service has died can't be asked any more. The
oldest output is dropped above KEPT_BYTES.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from virtmesh_client.serial.models import OLDEST, Disconnected, Gap, Output, Restarted
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh_client.machine import Machine
    from virtmesh_client.serial.models import SerialEvent

KEPT_BYTES = 4 << 20
JOIN_SECONDS = 5.0


class SerialLog:
    """The output of one port. Any thread may ask for it.

    `_kept` is written by the thread under `_lock`, and `_first` is the position of its first byte.
    """

    def __init__(self, machine: Machine, name: str, *, from_start: bool) -> None:
        self.name = name
        since = OLDEST if from_start else None
        self._watch = machine.serial(name).watch(since=since)
        self._lock = threading.Condition()
        self._kept = bytearray()
        self._first = 0
        self._arrived = 0
        """Offset of the service's next byte, in its own count."""
        self._thread = threading.Thread(target=self._run, name=f"virtmesh {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Receive no more."""
        self._watch.close()
        self._thread.join(JOIN_SECONDS)

    @property
    def position(self) -> int:
        """Where the log ends now; `since` takes it."""
        with self._lock:
            return self._first + len(self._kept)

    def since(self, position: int) -> bytes:
        """Return what was said since a position; what is not kept any more is named."""
        with self._lock:
            start = position - self._first
            dropped = f"[{-start} earlier bytes are not kept]\n".encode() if start < 0 else b""
            return dropped + bytes(self._kept[max(start, 0) :])

    def catch_up(self, offset: int, seconds: float) -> None:
        """Wait until the output before an offset of the service has arrived, or for so long."""
        with self._lock:
            self._lock.wait_for(lambda: self._arrived >= offset, seconds)

    def _run(self) -> None:
        """Receive until the watch is closed, or fails for good."""
        try:
            for event in self._watch:
                self._take(event)
        except VirtmeshError as error:
            self._add(f"\n[the log ends here: {error.message}]\n".encode(), self._arrived)

    def _take(self, event: SerialEvent) -> None:
        """Keep an event."""
        match event:
            case Output():
                self._add(event.data, event.offset + len(event.data))
            case Gap():
                self._add(f"[{event.missed_bytes} bytes are missing]".encode(), event.offset)
            case Disconnected():
                self._add(f"\n[disconnected: {event.reason}]\n".encode(), self._arrived)
            case Restarted():
                self._add(b"\n[the service of the port was restarted]\n", event.offset)
            case _:
                pass

    def _add(self, data: bytes, arrived: int) -> None:
        """Keep bytes, and drop the oldest for them."""
        with self._lock:
            self._kept += data
            excess = max(len(self._kept) - KEPT_BYTES, 0)
            del self._kept[:excess]
            self._first += excess
            self._arrived = arrived
            self._lock.notify_all()
