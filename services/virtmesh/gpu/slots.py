"""Guest memory for commands: each has room for one request and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.gpu.spec import CTRL_HDR, RESP_EDID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.attach.guest_ram import Ram

SLOTS = 8
"""Commands that can be under way on one queue."""
REQUEST_BYTES = 1024
"""Room for a request: none of the driver's is longer."""
ANSWER_BYTES = CTRL_HDR.size + RESP_EDID.size
"""Room for an answer: the longest is an EDID."""


@dataclass(frozen=True)
class Slot:
    """Where a request and its answer are."""

    ram: Ram
    address: int

    @property
    def answer_address(self) -> int:
        """Where the answer goes."""
        return self.address + REQUEST_BYTES

    def write(self, request: bytes) -> None:
        """Write a request."""
        with self.ram.view(self.address, len(request)) as view:
            view[:] = request

    def read(self, length: int) -> bytes:
        """Copy an answer out."""
        return self.ram.guest_memory.read(self.answer_address, length)


def make_slots(ram: Ram) -> Iterator[Slot]:
    """Make the slots of one queue. Errors: MemoryError."""
    base = ram.pages.allocate(SLOTS * (REQUEST_BYTES + ANSWER_BYTES))
    for number in range(SLOTS):
        yield Slot(ram, base + number * (REQUEST_BYTES + ANSWER_BYTES))
