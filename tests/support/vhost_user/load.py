"""Random requests for a disk that is killed under them, and what it has to hold afterwards."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType

if TYPE_CHECKING:
    from tests.support.vhost_user.disk import VhostDisk

SLOTS = 16
"""Requests under way at a time."""
PLACES = 64
"""Parts of the disk that are written, of up to 4096 bytes each."""


class Load:
    """Random requests, of which none is in another's way, and what the disk has to hold."""

    def __init__(self, disk: VhostDisk, seed: int) -> None:
        self._disk = disk
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self._under_way: dict[int, tuple[RequestType, int, bytes]] = {}
        """Type, place, and data that is written or has to be read, by token."""
        self._idle = list(range(PLACES))
        self.held = dict.fromkeys(range(PLACES), bytes(4096))
        self.submitted = self.completed = 0

    def submit(self) -> None:
        """Add as many requests as may be under way."""
        while self._disk.under_way < SLOTS:
            place = self._idle.pop(self.random.randrange(len(self._idle)))
            kind = self.random.choices(
                [
                    RequestType.VIRTIO_BLK_T_OUT,
                    RequestType.VIRTIO_BLK_T_IN,
                    RequestType.VIRTIO_BLK_T_FLUSH,
                ],
                [7, 2, 1],
            )[0]
            data = self.held[place]
            argument: bytes | int = b""
            if kind is RequestType.VIRTIO_BLK_T_OUT:
                argument = data = os.urandom(SECTOR * self.random.randint(1, 8))
            elif kind is RequestType.VIRTIO_BLK_T_IN:
                argument = len(data)
            token = self._disk.submit(kind, place * 8, argument)
            self._under_way[token] = (kind, place, data)
            self.submitted += 1

    async def complete(self) -> None:
        """Wait for completed requests, and check them."""
        for token, status, found in await self._disk.completions():
            assert status is RequestStatus.VIRTIO_BLK_S_OK
            kind, place, data = self._under_way.pop(token)
            assert kind is not RequestType.VIRTIO_BLK_T_IN or found == data
            if kind is RequestType.VIRTIO_BLK_T_OUT:
                self.held[place] = data + self.held[place][len(data) :]
            self._idle.append(place)
            self.completed += 1

    async def run(self, completions: int) -> None:
        """Keep the disk busy until so many more requests are completed."""
        enough = self.completed + completions
        while self.completed < enough:
            self.submit()
            await self.complete()
        self.submit()

    async def drain(self) -> None:
        """Complete what is under way."""
        while self._under_way:
            await self.complete()

    def check_image(self, content: bytes) -> None:
        """Check that an image holds what was written."""
        found = {place: content[place * 4096 :][:4096] for place in range(PLACES)}
        assert found == self.held
