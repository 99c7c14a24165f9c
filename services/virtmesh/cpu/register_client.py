"""The driver's end of the register channel, one blocking batch at a time (handover.proto).

The board has its own, in native code; this one serves what is done before the board begins.
"""

from __future__ import annotations

import os
import select
import struct
from typing import TYPE_CHECKING

from virtmesh.attach.bus import columns
from virtmesh_common.errors import BY_REASON, BadStream, DeviceLost, RegisterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.attach.bus import Access

HEAD = struct.Struct("<II")
"""tag, count of a request."""
ENTRY = struct.Struct("<IB3xQ")
"""offset, op, value."""
ANSWER = struct.Struct("<IIIIQ")
"""tag, count, flags, pending causes, line sequence."""
REFUSED = 2
"""Bit of flags: the access after those that were executed was refused."""
PACKET_LIMIT = 1 << 17
ANSWER_SECONDS = 5.0
"""Longest wait for an answer: a write that begins a reset is answered within a second."""


class RegisterClient:
    """Accesses registers over a connection that is attached. It does not own the descriptor."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._tag = 0

    def access(self, batch: Sequence[Access]) -> Sequence[int]:
        """Execute a batch as Bus.access does, and wait for it.

        Errors: RegisterError classes; DeviceLost; BadStream.
        """
        self._tag = (self._tag + 1) & 0xFFFF_FFFF
        offsets, ops, values = columns(batch)
        entries = b"".join(map(ENTRY.pack, offsets, ops, values))
        try:
            os.write(self._descriptor, HEAD.pack(self._tag, len(batch)) + entries)
            answer = self._receive()
        except OSError as error:
            raise DeviceLost(f"{self._name} is lost: {error.strerror}") from error
        return self._take(answer, len(batch))

    def _receive(self) -> bytes:
        """Wait for one packet. Errors: OSError; DeviceLost."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        if not poller.poll(ANSWER_SECONDS * 1000):
            raise DeviceLost(f"{self._name} did not answer within {ANSWER_SECONDS:g} s")
        answer = os.read(self._descriptor, PACKET_LIMIT)
        if not answer:
            raise DeviceLost(f"{self._name} is lost: it closed the connection")
        return answer

    def _take(self, answer: bytes, wanted: int) -> Sequence[int]:
        """Return the values of an answer. Errors: RegisterError classes; BadStream."""
        if len(answer) < ANSWER.size:
            raise BadStream(f"{self._name}: an answer of {len(answer)} bytes")
        tag, count, flags, _causes, _sequence = ANSWER.unpack_from(answer)
        end = ANSWER.size + 8 * count
        if tag != self._tag or count > wanted or len(answer) < end:
            raise BadStream(f"{self._name}: an answer that fits no request")
        if flags & REFUSED:
            reason, _, message = answer[end:].decode(errors="replace").partition("\0")
            raise BY_REASON.get(reason, RegisterError)(message, index=count)
        if count != wanted:
            raise BadStream(f"{self._name}: {count} values for {wanted} accesses")
        return struct.unpack_from(f"<{count}Q", answer, ANSWER.size)
