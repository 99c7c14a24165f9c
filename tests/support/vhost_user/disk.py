"""A block driver for tests, on a ring of the vhost-user front end."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType

if TYPE_CHECKING:
    from tests.support.vhost_user.front_end import FrontEndRing

HEADER = struct.Struct("<IIQ")
"""struct virtio_blk_req up to its data: type, reserved, sector (5.2.6)."""
UNANSWERED = 0xFF
"""Value of a status byte before the device writes it."""


class VhostDisk:
    """Sends requests on one ring: at most `slots` at one time, each with up to `room` bytes."""

    def __init__(self, ring: FrontEndRing, *, slots: int = 32, room: int = 4096) -> None:
        self.ring = ring
        self._room = room
        self._free = [ring.ram.allocate(room + 4096) for _ in range(slots)]
        self._slots: dict[int, int] = {}
        """Addresses of the slots in flight, by token."""

    def submit(self, kind: RequestType, sector: int, data: bytes | int = b"") -> int:
        """Add a request, and kick. `data` is what to write, or how many bytes to read."""
        slot, memory = self._free.pop(), self.ring.ram.memory
        memory.write(slot, HEADER.pack(kind, 0, sector) + bytes([UNANSWERED]))
        header, status, content = (slot, HEADER.size), (slot + HEADER.size, 1), slot + 4096
        if isinstance(data, int):
            readable, writable = [header], [(content, data), status] if data else [status]
        else:
            memory.write(content, data)
            readable, writable = [header, (content, len(data))] if data else [header], [status]
        token = self.ring.queue.add(readable, writable)
        if token is None:
            raise MemoryError("the ring is full")
        self._slots[token] = slot
        self.ring.notify()
        return token

    async def finish(self, count: int) -> list[RequestStatus]:
        """Wait until `count` requests are completed. Returns their statuses in that order."""
        statuses: list[RequestStatus] = []
        while len(statuses) < count:
            statuses.extend(status for _, status, _ in await self.completions())
        return statuses

    async def completions(self) -> list[tuple[int, RequestStatus, bytes]]:
        """Wait for completed requests. Returns token, status and the data read of each.

        Errors: KeyError for a token that is not in flight.
        """
        done = []
        memory = self.ring.ram.memory
        for token, written in await self.ring.wait():
            slot = self._slots.pop(token)
            self._free.append(slot)
            status = RequestStatus(memory.read(slot + HEADER.size, 1)[0])
            data = memory.read(slot + 4096, max(written - 1, 0))
            done.append((token, status, data))
        return done

    @property
    def under_way(self) -> int:
        """Requests that are not completed."""
        return len(self._slots)

    async def write(self, sector: int, data: bytes) -> RequestStatus:
        """Write data."""
        self.submit(RequestType.VIRTIO_BLK_T_OUT, sector, data)
        return (await self.finish(1))[0]

    async def read(self, sector: int, length: int = SECTOR) -> bytes:
        """Read data. Errors: OSError."""
        token = self.submit(RequestType.VIRTIO_BLK_T_IN, sector, length)
        slot = self._slots[token]
        (status,) = await self.finish(1)
        if status is not RequestStatus.VIRTIO_BLK_S_OK:
            raise OSError(f"the disk answered {status.name}")
        return self.ring.ram.memory.read(slot + 4096, length)

    async def flush(self) -> RequestStatus:
        """Flush."""
        self.submit(RequestType.VIRTIO_BLK_T_FLUSH, 0)
        return (await self.finish(1))[0]
