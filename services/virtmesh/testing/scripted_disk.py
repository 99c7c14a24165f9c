"""A disk whose every answer a test decides: for drivers, and for what drivers do with bad devices.

It keeps its data in a bytearray. It holds requests back when told to, answers them in any order and
with any status, and reports any number of bytes as written.

    model = ScriptedDisk(hold=True)
    bus = LocalBus(VirtioMmio(model), ram)
    ...
    (request,) = await model.arrived(1)
    model.answer(request, status=1)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.testing.scripted_device import ScriptedDevice
from virtmesh.virtio.queue_device import MalformedChain
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature, RequestStatus, RequestType
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import IntFlag

    from virtmesh.virtio.queue_device import Chain
    from virtmesh_common.registers import Register

FEATURES = int(
    Feature.VIRTIO_F_VERSION_1
    | Feature.VIRTIO_F_INDIRECT_DESC
    | Feature.VIRTIO_F_EVENT_IDX
    | BlkFeature.VIRTIO_BLK_F_SIZE_MAX
    | BlkFeature.VIRTIO_BLK_F_SEG_MAX
    | BlkFeature.VIRTIO_BLK_F_BLK_SIZE
    | BlkFeature.VIRTIO_BLK_F_FLUSH
    | BlkFeature.VIRTIO_BLK_F_DISCARD
    | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES
)
"""What a scripted disk offers, unless told otherwise."""
_HEADER = struct.Struct("<IIQ")
_SEGMENT = struct.Struct("<QII")


@dataclass(eq=False)
class Request:
    """A request that arrived: its type (a RequestType, if there is one), sector and data."""

    chain: Chain
    type: int
    sector: int
    out: bytes

    @property
    def room(self) -> int:
        """Bytes that the driver wants, without the status."""
        return self.chain.writable_bytes - 1

    @property
    def sectors(self) -> range:
        """The sectors that a read or a write touches."""
        size = len(self.out) or self.room
        return range(self.sector, self.sector + size // blk.SECTOR)

    @property
    def segments(self) -> list[tuple[int, int, int]]:
        """The (sector, sectors, flags) of a discard or write-zeroes."""
        return list(_SEGMENT.iter_unpack(self.out))


class ScriptedDisk(ScriptedDevice):
    """A virtio disk. `config` sets fields of the configuration space."""

    kind = "blk"
    device_id = blk.VIRTIO_ID_BLOCK
    family: type[IntFlag] = BlkFeature
    config = blk.CONFIG

    def __init__(  # noqa: PLR0913 - each is one trait of the disk
        self,
        *,
        name: str = "vda",
        sectors: int = 256,
        features: int = FEATURES,
        queue_size_max: Sequence[int] = (64,),
        config: Mapping[Register, int] | None = None,
        hold: bool = False,
    ) -> None:
        super().__init__(name, features, queue_size_max)
        self.hold = hold
        self.data = bytearray(sectors * blk.SECTOR)
        self.held: list[Request] = []
        """Requests that wait for `answer`."""
        self.seen: list[Request] = []
        """Every request that arrived."""
        self.bad_sectors: set[int] = set()
        """A request that touches one of them, and is not held, fails with IOERR."""
        self._fields = dict.fromkeys(blk.CONFIG, 0) | {
            blk.CAPACITY: sectors,
            blk.SIZE_MAX: 1 << 20,
            blk.SEG_MAX: 30,
            blk.BLK_SIZE: blk.SECTOR,
            blk.NUM_QUEUES: len(queue_size_max),
            blk.MAX_DISCARD_SECTORS: 64,
            blk.MAX_DISCARD_SEG: 1,
            blk.MAX_WRITE_ZEROES_SECTORS: 64,
            blk.MAX_WRITE_ZEROES_SEG: 1,
            **(config or {}),
        }

    async def arrived(self, count: int) -> list[Request]:
        """Wait until so many requests are held; return them, oldest first."""
        while len(self.held) < count:
            await self.until_more()
        return list(self.held)

    def answer(self, request: Request, *, status: int = 0, written: int | None = None) -> None:
        """Execute a request if the status is 0, and give it back.

        `written` is the number of bytes that the disk reports as written; None: the true one.
        """
        if request in self.held:
            self.held.remove(request)
        data = self._execute(request) if status == RequestStatus.VIRTIO_BLK_S_OK else b""
        reply = data.ljust(request.room, b"\0")[: request.room] + bytes([status])
        request.chain.write(reply)
        request.chain.push(len(reply) if written is None else written)

    def resize(self, sectors: int) -> None:
        """Change the capacity, and tell the driver."""
        self.data[sectors * blk.SECTOR :] = b""
        self.data.extend(bytes(sectors * blk.SECTOR - len(self.data)))
        self._fields[blk.CAPACITY] = sectors
        self.config_generation += 1
        self.interrupt.raise_config()

    def read_config(self, field: Register) -> int:
        """Read a field of the configuration space."""
        return self._fields[field]

    def reset(self) -> None:
        """Forget every request."""
        self.held.clear()

    def take(self, chain: Chain) -> None:
        """Parse a chain; hold it, or answer it."""
        if chain.readable_bytes < _HEADER.size or not chain.writable_bytes:
            raise MalformedChain("a request has a header of 16 bytes and a status byte (5.2.6)")
        sent = chain.read(chain.readable_bytes)
        kind, _, sector = _HEADER.unpack_from(sent)
        request = Request(chain, kind, sector, sent[_HEADER.size :])
        self.seen.append(request)
        if self.hold:
            self.held.append(request)
        elif self.bad_sectors.intersection(request.sectors):
            self.answer(request, status=RequestStatus.VIRTIO_BLK_S_IOERR)
        else:
            self.answer(request)

    def _execute(self, request: Request) -> bytes:
        """Execute a request; return the data for the driver."""
        start = request.sector * blk.SECTOR
        match request.type:
            case RequestType.VIRTIO_BLK_T_IN:
                return bytes(self.data[start : start + request.room])
            case RequestType.VIRTIO_BLK_T_OUT:
                self.data[start : start + len(request.out)] = request.out
            case RequestType.VIRTIO_BLK_T_GET_ID:
                return b"scripted"
            case RequestType.VIRTIO_BLK_T_DISCARD | RequestType.VIRTIO_BLK_T_WRITE_ZEROES:
                for sector, sectors, _ in request.segments:
                    begin, size = sector * blk.SECTOR, sectors * blk.SECTOR
                    self.data[begin : begin + size] = bytes(size)
        return b""
