"""A client that hands files over to a kernel service, with nothing checked, and copies by them."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import file_handover_pb2
from virtmesh_common.blk.file_socket import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.world import World

PACKET = file_handover_pb2.FileHandoverRequest(version=1).SerializeToString()


class Hand:
    """One connection to the socket for files of a kernel in a folder."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(f"{folder}/kernel.sock{FILES}")

    async def give(
        self, *descriptors: int, packet: bytes = PACKET
    ) -> file_handover_pb2.FileHandoverResponse:
        """Send a packet with descriptors; return the answer."""
        socket.send_fds(self.socket, [packet], descriptors)
        answer = await asyncio.to_thread(self.socket.recv, 1 << 16)
        return file_handover_pb2.FileHandoverResponse.FromString(answer)


@contextmanager
def reaching(folder: Path) -> Iterator[Hand]:
    """Connect for a while."""
    hand = Hand(folder)
    try:
        yield hand
    finally:
        hand.socket.close()


class FileCaller:
    """Copies by files that are handed over."""

    def __init__(self, world: World, retry_for_ms: int = 0) -> None:
        self._world = world
        self._retry_for_ms = retry_for_ms

    async def import_file(self, descriptor: int, length: int, **where: int) -> list[int]:
        """Copy a file to the disk; return the progress that was reported."""
        with reaching(self._world.folder) as hand:
            request = pb.ImportRequest(**await self._about(hand, descriptor, length, **where))
            return [one.written_bytes async for one in self._world.disks.Import(request)]

    async def export_file(self, descriptor: int, length: int, **where: int) -> list[int]:
        """Copy the disk to a file; return the progress that was reported."""
        with reaching(self._world.folder) as hand:
            request = pb.ExportRequest(**await self._about(hand, descriptor, length, **where))
            return [one.read_bytes async for one in self._world.disks.Export(request)]

    async def _about(
        self, hand: Hand, descriptor: int, length: int, offset: int = 0, position: int = 0
    ) -> dict[str, Any]:
        """Hand a file over; return what a request says."""
        return {
            "device": "vda",
            "offset_bytes": offset,
            "length_bytes": length,
            "ticket": (await hand.give(descriptor)).ticket,
            "file_offset_bytes": position,
            "retry_for_ms": self._retry_for_ms,
        }


def make_file(path: Path, data: bytes) -> int:
    """Make a file, open for reading and writing."""
    path.write_bytes(data)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)
