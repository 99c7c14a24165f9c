"""The driver's end of the register channel, one blocking batch at a time (handover.proto).

The board has its own, in native code; this one serves what is done before the board begins.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from virtmesh.attach.cycles import pack
from virtmesh.attach.exchange import check_answer
from virtmesh.attach.register_channel import PACKET_LIMIT, REQUEST, decode
from virtmesh_common.errors import BadStream, DeviceLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.attach.bus import Access

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
        entries = pack(batch)
        try:
            os.write(self._descriptor, REQUEST.pack(self._tag, len(batch)) + entries)
            packet = self._receive()
        except OSError as error:
            raise DeviceLost(f"{self._name} is lost: {error.strerror}") from error
        tag, answer, *_line = decode(packet)
        if tag != self._tag:
            raise BadStream(f"{self._name} answered request {tag}, not {self._tag}")
        return check_answer(batch, answer)

    def _receive(self) -> bytes:
        """Wait for one packet. Errors: OSError; DeviceLost."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        if not poller.poll(ANSWER_SECONDS * 1000):
            raise DeviceLost(f"{self._name} did not answer within {ANSWER_SECONDS:g} s")
        packet = os.read(self._descriptor, PACKET_LIMIT)
        if not packet:
            raise DeviceLost(f"{self._name} is lost: it closed the connection")
        return packet
