"""The bytes of a guest's console on their way to and from its serial port, without any waiting.

Both directions have the window of GuestService.AttachGuest. When the stream is lost, output that
was not taken is sent again on the next one, and input that the guest has not read stays for it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh_common.api.kernel.v1 import guest_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 64 << 10
"""Most bytes of one direction that were sent and not taken."""
PIECE = 16 << 10
"""Most bytes of one message."""


class Output:
    """Bytes that the guest has printed and the port has not taken. `send` sends one message."""

    def __init__(self, send: Callable[[pb.AttachGuestRequest], object]) -> None:
        self._send = send
        self._bytes = bytearray()
        self._sent = 0
        self._attached = True

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def room(self) -> int:
        """How many bytes may be put."""
        return WINDOW - len(self._bytes)

    def put(self, data: bytes) -> None:
        """Take bytes, at most `room`, and send them."""
        self._bytes += data
        self._flush()

    def taken(self, count: int) -> None:
        """Note how many bytes the port has taken."""
        count = min(count, self._sent)
        del self._bytes[:count]
        self._sent -= count

    def lost(self) -> None:
        """Hold everything: the stream is lost."""
        self._attached, self._sent = False, 0

    def attached(self) -> None:
        """Send everything that was not taken: there is a new stream."""
        self._attached, self._sent = True, 0
        self._flush()

    def _flush(self) -> None:
        while self._attached and self._sent < len(self._bytes):
            piece = bytes(self._bytes[self._sent : self._sent + PIECE])
            self._send(pb.AttachGuestRequest(output=piece))
            self._sent += len(piece)


class Input:
    """Bytes from the port that the guest has not read. `write` returns how many bytes it takes."""

    def __init__(
        self,
        send: Callable[[pb.AttachGuestRequest], object],
        write: Callable[[bytes], int],
    ) -> None:
        self._send = send
        self._write = write
        self._pieces: deque[tuple[bytes, int]] = deque()
        """What is to be written, and how much of the window it takes."""
        self._owed = 0
        """So much of the window of this stream was not reported as taken."""

    def __len__(self) -> int:
        return len(self._pieces)

    def put(self, encoded: bytes, size: int) -> None:
        """Take a piece of input which takes `size` of the window."""
        self._owed += size
        self._pieces.append((encoded, size))

    def lost(self) -> None:
        """Report nothing of what is here: the stream from which it came is lost.

        Only one window's worth of it is kept, however often that happens.
        """
        self._owed = 0
        kept = 0
        for number, (_, size) in enumerate(self._pieces):
            kept += size
            if kept > WINDOW:
                while len(self._pieces) > number:
                    self._pieces.pop()
                return

    def step(self) -> None:
        """Write once. Errors: OSError."""
        encoded, size = self._pieces[0]
        rest = encoded[self._write(encoded) :] if encoded else b""
        if rest:
            self._pieces[0] = (rest, size)
            return
        self._pieces.popleft()
        # Pieces are written in order, so those of an earlier stream come first.
        here = sum(one for _, one in self._pieces)
        done = max(0, min(size, self._owed - min(here, self._owed)))
        if done:
            self._owed -= done
            self._send(pb.AttachGuestRequest(input_taken=done))
