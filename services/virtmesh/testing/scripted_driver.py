"""A driver whose steps a script makes one by one: for tests of devices, and to try registers.

    driver = ScriptedDriver(plane, ram, doorbells)
    await driver.reset()
    await driver.negotiate(features)
    await driver.set_up_queue(0, size=8)
    await driver.go()
    status, data = await driver.request(BlkRequest.read(sector=0, length=512))

A `RegisterAccess` reads and writes the registers: `LocalRegisters` of a device in the same process,
`GrpcRegisters` through a device service, `ChannelRegisters` by its register channel. The driver
does one step at a time and trusts its device.
For real use there are VirtIOHeader (virtmesh.virtio.mmio_driver) and VirtIOBlk (virtmesh.blk).
"""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from virtmesh_native import DriverQueue, QueueConfig

from virtmesh.attach.asyncfd import readable
from virtmesh.attach.bus import Access
from virtmesh.attach.eventfd import drain
from virtmesh.attach.exchange import Exchange
from virtmesh.attach.register_channel import RegisterChannel
from virtmesh_common.api.doorbell.v1 import doorbell_pb2, doorbell_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.blk.spec import RequestType
from virtmesh_common.channel import SESSION_KEY
from virtmesh_common.errors import NotAttached, from_rpc_error
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

# isort: split
import grpc.aio

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from virtmesh.attach.client import AttachmentEventfds
    from virtmesh.attach.guest_ram import Ram
    from virtmesh.mmio.device import Device
    from virtmesh_common.registers import Register

DRIVEN = Status.ACKNOWLEDGE | Status.DRIVER
NEGOTIATED = DRIVEN | Status.FEATURES_OK
LIVE = NEGOTIATED | Status.DRIVER_OK


class RegisterAccess(Protocol):
    """Reads and writes registers. Errors: RegisterError and its subclasses; NotAttached."""

    async def read(self, offset: int, width: int = 4) -> int:
        """Read `width` bytes at an offset."""

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Write `width` bytes at an offset."""

    async def notify(self, queue: int) -> None:
        """Notify a queue without its register QueueNotify."""


class LocalRegisters:
    """The registers of a device in this process."""

    def __init__(self, device: Device) -> None:
        self._device = device

    async def read(self, offset: int, width: int = 4) -> int:
        """Read at an offset."""
        return self._device.read(offset, width)

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Write at an offset."""
        self._device.write(offset, width, value)

    async def notify(self, queue: int) -> None:
        """Ring a queue."""
        self._device.notify(queue)


class GrpcRegisters:
    """The registers of a device service, by unary calls. `session` is from Attach, or None."""

    def __init__(self, channel: grpc.aio.Channel, session: str | None) -> None:
        self.session = session
        self.metadata = ((SESSION_KEY, session),) if session else ()
        self._registers: register_pb2_grpc.RegisterServiceAsyncStub = (
            register_pb2_grpc.RegisterServiceStub(channel)
        )
        self._doorbell: doorbell_pb2_grpc.DoorbellServiceAsyncStub = (
            doorbell_pb2_grpc.DoorbellServiceStub(channel)
        )

    async def read(self, offset: int, width: int = 4) -> int:
        """Read at an offset."""
        request = register_pb2.ReadRequest(offset=offset, width_bytes=width)
        try:
            return (await self._registers.Read(request, metadata=self.metadata)).value
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from failure

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Write at an offset."""
        request = register_pb2.WriteRequest(offset=offset, width_bytes=width, value=value)
        try:
            await self._registers.Write(request, metadata=self.metadata)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from failure

    async def notify(self, queue: int) -> None:
        """Ring a queue."""
        request = doorbell_pb2.NotifyRequest(queues=[queue])
        try:
            await self._doorbell.Notify(request, metadata=self.metadata)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from failure


class ChannelRegisters:
    """The registers of a device service, by the register channel on the handover connection.

    Queues are notified by `other`, which also has the session.
    """

    def __init__(self, connection: socket.socket, other: GrpcRegisters) -> None:
        self.session = other.session
        self.metadata = other.metadata
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """How the connection ended, once it has."""
        self._channel = RegisterChannel(connection, self._end)
        self._other = other

    async def read(self, offset: int, width: int = 4) -> int:
        """Read at an offset."""
        (value,) = await self.access([Access(offset, width)])
        return value

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Write at an offset."""
        await self.access([Access(offset, width, value)])

    async def notify(self, queue: int) -> None:
        """Ring a queue."""
        await self._other.notify(queue)

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute a batch."""
        exchange = Exchange(batch)
        self._channel.submit(exchange)
        return exchange.result(await exchange.answer)

    def close(self) -> None:
        """Leave the connection alone from now on."""
        self._channel.close()

    def _end(self, how: str) -> None:
        """Fail what waits."""
        if not self.lost.done():
            self.lost.set_result(how)
        self._channel.fail(NotAttached(how))


@dataclass(frozen=True)
class BlkRequest:
    """A request to a disk (virtio 1.4, 5.2.6): its data, and the number of bytes to receive."""

    kind: RequestType
    sector: int
    sent: bytes = b""
    expected: int = 0

    @classmethod
    def read(cls, sector: int, length: int) -> BlkRequest:
        """Read `length` bytes."""
        return cls(RequestType.VIRTIO_BLK_T_IN, sector, expected=length)

    @classmethod
    def write(cls, sector: int, data: bytes) -> BlkRequest:
        """Write data."""
        return cls(RequestType.VIRTIO_BLK_T_OUT, sector, sent=data)


class ScriptedDriver:
    """Drives one device. `ram` and `doorbells` are those that were passed to the device."""

    def __init__(self, plane: RegisterAccess, ram: Ram, doorbells: AttachmentEventfds) -> None:
        self.plane = plane
        self.ram = ram
        self.doorbells = doorbells
        self._features = 0
        self.queues: dict[int, DriverQueue] = {}
        self.areas: dict[int, tuple[int, int, int]] = {}
        """Where the parts of queues are: of descriptors, of the driver, of the device."""

    async def get(self, register: Register) -> int:
        """Read a register."""
        return await self.plane.read(register.offset, register.widths[0])

    async def put(self, register: Register, value: int) -> None:
        """Write a register."""
        await self.plane.write(register.offset, value, register.size)

    async def reset(self) -> None:
        """Reset the device, and wait until Status reads 0 (2.4.2)."""
        await self.put(mmio.STATUS, 0)
        while await self.get(mmio.STATUS):  # noqa: ASYNC110 - there is no event for a reset
            await asyncio.sleep(0)
        self.queues.clear()

    async def offered(self) -> int:
        """Return the features that the device offers."""
        words = []
        for word in range(2):
            await self.put(mmio.DEVICE_FEATURES_SEL, word)
            words.append(await self.get(mmio.DEVICE_FEATURES))
        return words[0] | words[1] << 32

    async def negotiate(self, features: int) -> int:
        """Accept features. Returns the status that the device then has (3.1.1)."""
        await self.put(mmio.STATUS, Status.ACKNOWLEDGE)
        await self.put(mmio.STATUS, DRIVEN)
        for word in range(2):
            await self.put(mmio.DRIVER_FEATURES_SEL, word)
            await self.put(mmio.DRIVER_FEATURES, features >> 32 * word & 0xFFFF_FFFF)
        await self.put(mmio.STATUS, NEGOTIATED)
        self._features = features
        return await self.get(mmio.STATUS)

    async def place_queue(self, index: int, size: int) -> tuple[int, int, int]:
        """Set size and addresses of a queue. Returns its three areas (2.6), on separate pages.

        The areas are large enough for a split queue. A packed queue needs no more.
        """
        sizes = (16 * size, 6 + 2 * size, 6 + 8 * size)
        descriptor_area, driver_area, device_area = map(self.ram.pages.allocate, sizes)
        await self.put(mmio.QUEUE_SEL, index)
        await self.put(mmio.QUEUE_SIZE, size)
        for low, high, area in (
            (mmio.QUEUE_DESC_LOW, mmio.QUEUE_DESC_HIGH, descriptor_area),
            (mmio.QUEUE_DRIVER_LOW, mmio.QUEUE_DRIVER_HIGH, driver_area),
            (mmio.QUEUE_DEVICE_LOW, mmio.QUEUE_DEVICE_HIGH, device_area),
        ):
            await self.put(low, area & 0xFFFF_FFFF)
            await self.put(high, area >> 32)
        self.areas[index] = (descriptor_area, driver_area, device_area)
        return self.areas[index]

    async def set_up_queue(self, index: int, size: int = 8) -> DriverQueue:
        """Set up a queue, and set QueueReady."""
        descriptor_area, driver_area, device_area = await self.place_queue(index, size)
        config = QueueConfig(
            size=size,
            descriptor_area=descriptor_area,
            driver_area=driver_area,
            device_area=device_area,
            event_idx=bool(self._features & Feature.VIRTIO_F_EVENT_IDX),
            indirect=bool(self._features & Feature.VIRTIO_F_INDIRECT_DESC),
            packed=bool(self._features & Feature.VIRTIO_F_RING_PACKED),
        )
        self.queues[index] = DriverQueue(self.ram.guest_memory, config)
        await self.put(mmio.QUEUE_READY, 1)
        return self.queues[index]

    async def go(self) -> None:
        """Set DRIVER_OK. The device is live after that."""
        await self.put(mmio.STATUS, LIVE)

    async def bring_up(self, features: int, queues: int = 1) -> None:
        """Reset the device, negotiate features, set up queues, and set DRIVER_OK."""
        await self.reset()
        await self.negotiate(features)
        for index in range(queues):
            await self.set_up_queue(index)
        await self.go()

    def add(self, request: BlkRequest, queue: int = 0) -> tuple[int, int, int]:
        """Add a request without a notification. Returns its token, its address and its length."""
        header = struct.pack("<IIQ", request.kind, 0, request.sector)
        length = len(header) + len(request.sent) + request.expected + 1
        address = self.ram.pages.allocate(length)
        self.ram.guest_memory.write(address, header + request.sent)
        # No device writes this status, so the driver can tell whether the device wrote one.
        self.ram.guest_memory.write(address + length - 1, b"\xff")
        data = address + len(header)
        sent = [(data, len(request.sent))] if request.sent else []
        expected = [(data, request.expected)] if request.expected else []
        token = self.queues[queue].add(
            [(address, len(header)), *sent], [*expected, (address + length - 1, 1)]
        )
        if token is None:
            raise RuntimeError(f"queue {queue} is full: wait for a used buffer")
        return token, address, length

    async def request(
        self, request: BlkRequest, queue: int = 0, *, by: str = "mmio"
    ) -> tuple[int, bytes]:
        """Send a request, and wait for it. Returns its status and the data that was read.

        `by` says how to notify the device: "mmio", "rpc" or "eventfd".
        """
        _, address, length = self.add(request, queue)
        await self.ring(queue, by=by)
        await self.used(queue)
        self.queues[queue].pop_used()
        answer = self.ram.guest_memory.read(
            address + length - 1 - request.expected, request.expected
        )
        status = self.ram.guest_memory.read(address + length - 1, 1)[0]
        self.ram.pages.release(address)
        return status, answer

    async def ring(self, queue: int, *, by: str) -> None:
        """Notify a queue by "mmio", "rpc" or "eventfd"."""
        if by == "mmio":
            await self.put(mmio.QUEUE_NOTIFY, queue)
        elif by == "rpc":
            await self.plane.notify(queue)
        else:
            os.eventfd_write(self.doorbells.queues[queue].kick, 1)

    async def used(self, queue: int = 0) -> None:
        """Wait until the device has used a buffer."""
        while not self.queues[queue].enable_interrupts():
            await signalled(self.doorbells.queues[queue].call)


async def signalled(descriptor: int) -> None:
    """Wait for an eventfd, and drain it."""
    await readable(descriptor)
    drain(descriptor)
