"""The driver of virtio block devices (virtio 1.4, 5.2).

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

A request is a chain of three parts: `BlkReq`, which the device reads; the data; and `BlkResp`, one
byte that the device writes. They lie in a slot (see request.py). `begin` puts a request into a
slot, and `completed` gives the slot back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING

from virtmesh.blk.block_device import BlockDevice
from virtmesh.blk.cause import explain
from virtmesh.blk.limits import read_limits
from virtmesh.blk.request import SLOTS_MAX, BlkReq, BlkResp, Slot, make_slots, segments
from virtmesh.blk.shape import Shape
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.drivers.pool import Pool
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram
from virtmesh.virtio.queue import VirtQueue
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BlockIOError, BlockUnsupported
from virtmesh_common.blk.failure import UNKNOWN
from virtmesh_common.blk.spec import BlkFeature, RequestType
from virtmesh_common.errors import QueueUnusable, RingCorrupt, VirtmeshError
from virtmesh_common.printable import printable
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    import grpc.aio

    from virtmesh.attach.bus import Bus
    from virtmesh.attach.guest_ram import Ram
    from virtmesh.blk.block_device import Operation, Order
    from virtmesh.blk.limits import Limits
    from virtmesh.virtio.queue import Buffer

QUEUE_SIZE_MAX = 128
"""Most entries of a queue used."""
SETTLE_S = 5.0
"""Longest wait for writes that have begun when the driver is told to stop."""
FAIL_S = 0.5
"""Longest wait until writes have ended whose requests have failed; some may wait for the next
driver."""
RAM_SHARE = 0.75
"""Part of RAM that slots may take; the rest is for rings."""


@dataclass(frozen=True)
class _InFlight:
    """A request that the device has, its slot, and the operation that it is part of."""

    slot: Slot
    request: BlkReq
    operation: Operation
    begun: float = field(default_factory=monotonic)
    """When it was made, in seconds of the monotonic clock."""


class VirtIOBlk(VirtIODriver, BlockDevice):
    """A virtio disk."""

    family = BlkFeature
    wanted = (
        BlkFeature.VIRTIO_BLK_F_SIZE_MAX
        | BlkFeature.VIRTIO_BLK_F_SEG_MAX
        | BlkFeature.VIRTIO_BLK_F_GEOMETRY
        | BlkFeature.VIRTIO_BLK_F_RO
        | BlkFeature.VIRTIO_BLK_F_BLK_SIZE
        | BlkFeature.VIRTIO_BLK_F_FLUSH
        | BlkFeature.VIRTIO_BLK_F_TOPOLOGY
        | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE
        | BlkFeature.VIRTIO_BLK_F_MQ
        | BlkFeature.VIRTIO_BLK_F_DISCARD
        | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES
    )

    def __init__(
        self,
        bus: Bus,
        interrupts: InterruptMode = InterruptMode.INTERRUPT,
        *,
        refused: int = 0,
    ) -> None:
        VirtIODriver.__init__(self, bus, interrupts, refused=refused)
        BlockDevice.__init__(self)
        self._shape = Shape()
        self.slots: Pool[Slot] = Pool(())
        """Free slots: here, and only here, requests wait."""
        self.durations = Histogram(LATENCY_BOUNDS)
        """Seconds from making a request to its completion, without waiting for a slot."""
        self.gone = False
        """True once the device's process has gone by itself; another one may come."""
        self._segment_size = 0
        self._in_flight: dict[tuple[int, int], _InFlight] = {}
        self._explaining: set[asyncio.Task[None]] = set()
        """Asks the disk why a request failed."""

    @property
    def facts(self) -> list[str]:
        """The size of the disk, and how it may be used."""
        cache = "write-back" if self.write_back else "write-through"
        access = "read-only" if self.read_only else cache
        return [f"{self.capacity} bytes in blocks of {self.block_size}, {access}"]

    @property
    def shape(self) -> Shape:
        """What the disk is."""
        return self._shape

    def share(self, order: Order) -> None:
        """Keep changes in an order that others keep as well, from now on."""
        self._order = order

    async def set_up(self) -> None:
        """Read what the disk is, and set its queues up."""
        limits = await read_limits(self.header, self.name)
        self._shape = Shape(
            block_size=limits.block_size,
            discard_size_max=limits.discard_size,
            write_zeroes_size_max=limits.write_zeroes_size,
            may_unmap=limits.may_unmap,
            read_only=self.header.has(BlkFeature.VIRTIO_BLK_F_RO),
            has_flush=self.header.has(BlkFeature.VIRTIO_BLK_F_FLUSH),
            features=self.features,
            queue_count=limits.queues,
        )
        self._segment_size = limits.segment_size
        await self.config_changed()
        await self._set_up_queues(limits)

    async def ready(self) -> None:
        """Ask the disk for its name."""
        name = bytearray(blk.VIRTIO_BLK_ID_BYTES)
        request = BlkReq(RequestType.VIRTIO_BLK_T_GET_ID, into=memoryview(name))
        try:
            await self.run([request])
        except BlockUnsupported:
            return
        text = name.split(b"\0")[0].decode("ascii", "replace")
        self._shape = replace(self._shape, serial=printable(text))

    async def config_changed(self) -> None:
        """Read the capacity and the cache mode."""
        cache_mode = [blk.WRITEBACK] if self.header.has(BlkFeature.VIRTIO_BLK_F_CONFIG_WCE) else []
        config = await self.header.read_config([blk.CAPACITY, *cache_mode])
        self._shape = replace(
            self._shape,
            capacity=config[blk.CAPACITY] * blk.SECTOR,
            # Without CONFIG_WCE, a disk that has FLUSH is to be taken for write-back (5.2.5).
            write_back=bool(config.get(blk.WRITEBACK, int(self._shape.has_flush))),
        )

    async def flush(self) -> None:
        """Make every completed write durable."""
        # Without FLUSH the disk is write-through: a write that is complete is durable (5.2.6.2).
        if self.shape.has_flush:
            await self.run([BlkReq(RequestType.VIRTIO_BLK_T_FLUSH)])
        self.bus.check()

    async def begin(self, request: BlkReq, operation: Operation) -> None:
        """Give a request to the device, as soon as there is a slot for it."""
        slot = await self.slots.take(bulk=operation.bulk)
        if operation.error is not None:  # It came while this request waited for its slot.
            self.slots.give(slot)
            operation.ended()
            return
        try:
            token = self._add(slot, request)
        except BaseException:
            self.slots.give(slot)
            raise
        self._in_flight[slot.queue.index, token] = _InFlight(slot, request, operation)
        self.notify(slot.queue)

    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Take the outcome out of a slot, tell the operation, and give the slot to the next."""
        done = self._in_flight.pop((queue.index, token), None)
        if done is None:
            raise RingCorrupt(
                f"{self.name} used chain {token} of queue {queue.index}, which is not in flight"
            )
        self.durations.observe(monotonic() - done.begun)
        try:
            self._take_outcome(done, written)
        except VirtmeshError as error:
            self._failed(done, error)
            return
        done.operation.ended()
        self.slots.give(done.slot)

    def _failed(self, done: _InFlight, error: VirtmeshError) -> None:
        """End a request that failed, after asking the disk for the cause of its operation's end."""
        operation, channel = done.operation, self.bus.channel
        is_first = operation.error is None
        operation.error = operation.error or error  # No more of its requests begin.
        is_open = error.metadata.get("cause") == UNKNOWN
        if isinstance(error, BlockIOError) and is_first and is_open and channel is not None:
            task = asyncio.create_task(self._ask_cause(done, error, channel))
            self._explaining.add(task)
            task.add_done_callback(self._explaining.discard)
            return
        operation.ended(error)
        self.slots.give(done.slot)

    async def _ask_cause(
        self, done: _InFlight, error: BlockIOError, channel: grpc.aio.Channel
    ) -> None:
        """End a request that failed, with its cause. Until then its slot is kept."""
        operation, slot = done.operation, done.slot
        try:
            operation.error = await explain(error, channel, done.request, slot.status[0])
        finally:
            operation.ended(error)
            self.slots.give(slot)

    def abandon(self, error: VirtmeshError) -> None:
        """Fail every request, in flight or waiting for a slot."""
        self.slots.fail(error.again)
        for lost in self._in_flight.values():
            lost.operation.ended(error.again())
        self._in_flight.clear()

    def orphan(self, error: VirtmeshError) -> None:
        """Give every request back that the device had, in the order in which they began."""
        self._pop_all()  # What it has used is carried out, although no interrupt came.
        self.gone = True
        self.slots.fail(error.again)
        lost, self._in_flight = self._in_flight, {}
        for one in lost.values():
            one.operation.lost(one.request, error)

    async def close(self) -> None:
        """Let writes that have begun finish, then stop."""
        if not self.failed.done():
            await self._settle(SETTLE_S)
        await super().close()
        if not self.gone:
            await self._settle(FAIL_S)

    async def _settle(self, seconds: float) -> None:
        """Wait until changes have ended, but not longer than that."""
        with suppress(TimeoutError):
            async with time_limit(seconds):
                await self.settle()

    async def _set_up_queues(self, limits: Limits) -> None:
        """Set the queues up, and make slots for them."""
        sizes = [await self._queue_size(index) for index in range(limits.queues)]
        shares = len(sizes) * SLOTS_MAX
        room = int(self.bus.ram.size * RAM_SHARE) // shares - Slot.FRAME_SIZE
        request_size = limits.request_size(self.name, min(sizes), room)
        self._shape = replace(self._shape, request_size_max=request_size)
        chain = limits.chain_length(request_size)
        indirect = self.header.has(Feature.VIRTIO_F_INDIRECT_DESC)
        for index, size in enumerate(sizes):
            self.queues.append(await VirtQueue.set_up(self.header, index, size, chain_max=chain))
        counts = [min(SLOTS_MAX, size if indirect else size // chain) for size in sizes]
        self.slots = make_slots(
            self.bus.ram.pages,
            list(zip(self.queues, counts, strict=True)),
            request_size,
        )

    async def _queue_size(self, index: int) -> int:
        """Choose the size of a queue. Errors: QueueUnusable."""
        offered = await self.header.queue_size_max(index)
        size = min(1 << max(offered.bit_length() - 1, 0), QUEUE_SIZE_MAX)
        if offered < 3:
            raise QueueUnusable(f"queue {index} has {offered} entries: a request needs 3")
        return size

    def _add(self, slot: Slot, request: BlkReq) -> int:
        """Write a request to its slot and add it to the ring: its token."""
        ram = self.bus.ram
        _copy_in(ram, slot.head, request.encode())
        _copy_in(ram, slot.status, bytes([BlkResp.UNWRITTEN]))
        readable, writable = [slot.head], [slot.status]
        lies = request.address_in(ram)
        data = slot.data if lies is None else lies
        if request.out is not None:
            if lies is None:
                _copy_in(ram, (data, len(request.out)), request.out)
            readable += segments(data, len(request.out), self._segment_size)
        if request.into is not None:
            writable = segments(data, len(request.into), self._segment_size) + writable
        token = slot.queue.add(readable, writable)
        if token is None:
            raise RingCorrupt(f"queue {slot.queue.index} of {self.name} has no room for a slot")
        return token

    def _take_outcome(self, done: _InFlight, written: int) -> None:
        """Check what the device wrote, and copy the data out. Errors: BlockError classes."""
        slot, into = done.slot, done.request.into
        with self.bus.ram.view(*slot.status) as status:
            BlkResp(status[0]).check(done.request)
        if into is None or not done.operation.wanted:
            return
        if written < len(into) + BlkResp.SIZE:
            # What lies behind the written bytes is left over from an earlier request (2.6.8.2).
            raise BlockIOError(f"the disk wrote {written} bytes of {len(into) + BlkResp.SIZE}")
        if done.request.address_in(self.bus.ram) is not None:
            return
        with self.bus.ram.view(slot.data, len(into)) as data:
            into[:] = data


def _copy_in(ram: Ram, where: Buffer, data: bytes | memoryview) -> None:
    """Copy bytes into guest memory."""
    with ram.view(*where) as target:
        target[:] = data
