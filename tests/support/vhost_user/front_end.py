"""A vhost-user front end for tests: memory, rings, and all messages, valid or not."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from virtmesh_native import DriverQueue, FrontEndMemory, QueueConfig

from virtmesh.attach.asyncfd import readable
from virtmesh.attach.eventfd import drain
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.framing import Message, MessageSocket
from virtmesh.vhost_user.messages import ProtocolFeature, Request
from virtmesh.virtio.layout import QueueLayout
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from virtmesh_native import GuestMemory

RAM_ADDRESS = 0x8000_0000
"""Guest address of the memory."""
USER_ADDRESS = 0x7F00_0000_0000
"""User address of the memory. The memory need not be mapped there."""
RAM_SIZE = 32 << 20
WAIT_SECONDS = 20.0
"""Limit for a wait for a reply or a call."""

FIRST_PACKED_BASE = 1 << 31 | 1 << 15
"""The base of a packed ring that was never used: both wrap counters are 1 (virtio 1.4, 2.8.1)."""

PROTOCOL = (
    ProtocolFeature.MQ
    | ProtocolFeature.REPLY_ACK
    | ProtocolFeature.CONFIG
    | ProtocolFeature.CONFIGURE_MEM_SLOTS
    | ProtocolFeature.BACKEND_REQ
    | ProtocolFeature.INFLIGHT_SHMFD
    | ProtocolFeature.RESET_DEVICE
    | ProtocolFeature.STATUS
)
"""Protocol features that the front end accepts if they are offered."""


class ConnectionLost(Exception):
    """The back end closed the connection."""


class RequestFailed(Exception):
    """The back end answered with failure."""


@dataclass
class FrontEndRam:
    """Memory of the front end: a part of a file. Without `descriptor`, a new file is made."""

    size: int = RAM_SIZE
    address: int = RAM_ADDRESS
    user_address: int = USER_ADDRESS
    offset: int = 0
    descriptor: int = -1

    def __post_init__(self) -> None:
        if self.descriptor < 0:
            self.descriptor = os.memfd_create("front-end", os.MFD_CLOEXEC)
            os.ftruncate(self.descriptor, self.offset + self.size)
        self._mapping = FrontEndMemory([(self.descriptor, self.address, self.size, self.offset)])
        self.memory: GuestMemory = self._mapping.guest_memory
        self._next = self.address

    @property
    def region(self) -> vu.MemoryRegion:
        """The region, as messages describe it."""
        return vu.MemoryRegion(self.address, self.size, self.user_address, self.offset)

    def allocate(self, length: int) -> int:
        """Allocate `length` bytes on whole pages. Returns the guest address. Nothing is freed."""
        start = self._next
        self._next += length + -length % 4096
        if self._next > self.address + self.size:
            raise MemoryError(f"the memory of the front end is full: no room for {length} bytes")
        return start

    def to_user(self, address: int) -> int:
        """Return the user address of a guest address."""
        return address - self.address + self.user_address

    def close(self) -> None:
        """Close the file. Rings keep it mapped as long as they exist."""
        del self._mapping, self.memory
        os.close(self.descriptor)


@dataclass
class FrontEndRing:
    """The driver's side of one ring, with its doorbells."""

    index: int
    ram: FrontEndRam
    layout: QueueLayout
    queue: DriverQueue
    kick: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
    call: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
    error: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    @classmethod
    def make(cls, index: int, ram: FrontEndRam, size: int, features: int) -> Self:
        """Make a ring in memory. It has indirect tables of 16 entries if they were negotiated."""
        tables = 16 if features & Feature.VIRTIO_F_INDIRECT_DESC else 0
        packed = bool(features & Feature.VIRTIO_F_RING_PACKED)
        length = QueueLayout.place(0, size, tables, packed=packed).length
        layout = QueueLayout.place(ram.allocate(length), size, tables, packed=packed)
        config = QueueConfig(
            size=size,
            descriptor_area=layout.descriptor_area,
            driver_area=layout.driver_area,
            device_area=layout.device_area,
            event_idx=bool(features & Feature.VIRTIO_F_EVENT_IDX),
            indirect=bool(tables),
            packed=packed,
        )
        queue = DriverQueue(
            ram.memory,
            config,
            indirect_area=layout.indirect_area,
            indirect_entries=layout.indirect_entries,
        )
        return cls(index, ram, layout, queue)

    @property
    def areas(self) -> vu.VringAddress:
        """The addresses, as messages have them."""
        return vu.VringAddress(
            index=self.index,
            flags=0,
            descriptor=self.ram.to_user(self.layout.descriptor_area),
            used=self.ram.to_user(self.layout.device_area),
            available=self.ram.to_user(self.layout.driver_area),
            log=0,
        )

    def notify(self) -> None:
        """Kick the device, if it wants notifications."""
        if self.queue.should_notify():
            os.eventfd_write(self.kick, 1)

    async def wait(self) -> list[tuple[int, int]]:
        """Wait for used chains."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                used = self.queue.pop_used()
                if used:
                    return used
                if not self.queue.enable_interrupts():
                    await self.called()

    async def called(self) -> None:
        """Wait for a call."""
        async with asyncio.timeout(WAIT_SECONDS):
            await readable(self.call)
            drain(self.call)

    def close(self) -> None:
        """Close the doorbells."""
        for descriptor in (self.kick, self.call, self.error):
            os.close(descriptor)


class VhostFrontEnd:
    """A connection to a back end."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.socket = MessageSocket(connection)
        self.requests: MessageSocket | None = None
        """Requests of the back end, once `take_requests` was called."""
        self.features = 0
        self.protocol = ProtocolFeature(0)
        self.ram = FrontEndRam()
        self.rings: list[FrontEndRing] = []
        self.logs: tuple[vu.Inflight, int] | None = None
        """The in-flight logs: their description and descriptor."""

    @classmethod
    async def connect(cls, path: Path) -> Self:
        """Connect to a socket, without sending a message."""
        return cls(await connect(path))

    # -- Messages ---------------------------------------------------------------------------------

    def post(
        self,
        request: int,
        payload: vu.Payload | bytes = b"",
        descriptors: Sequence[int] = (),
        flags: int = 0,
    ) -> None:
        """Send a message that needs no reply."""
        data = payload if isinstance(payload, bytes) else payload.pack()
        self.socket.send(request, flags, data, list(descriptors))

    async def answer(self) -> Message:
        """Wait for a reply. Errors: ConnectionLost."""
        async with asyncio.timeout(WAIT_SECONDS):
            message = await self.socket.receive()
        if message is None:
            raise ConnectionLost
        return message

    async def ask(self, request: Request, payload: vu.Payload | bytes = b"") -> bytes:
        """Send a message that has a reply. Returns the payload of the reply."""
        self.post(request, payload)
        return (await self.answer()).payload

    async def ask_u64(self, request: Request) -> int:
        """Send a message whose reply is a number. Returns the number."""
        return vu.U64.parse(await self.ask(request)).value

    async def tell(
        self,
        request: Request,
        payload: vu.Payload | bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> None:
        """Send a message; with REPLY_ACK, wait for its reply. Errors: RequestFailed."""
        acknowledged = ProtocolFeature.REPLY_ACK in self.protocol
        self.post(request, payload, descriptors, vu.NEED_REPLY if acknowledged else 0)
        if acknowledged and vu.U64.parse((await self.answer()).payload).value:
            raise RequestFailed(request.name)

    async def next_request(self) -> Message:
        """Wait for a request of the back end, and acknowledge it. Errors: ConnectionLost."""
        if self.requests is None:
            raise ConnectionLost
        async with asyncio.timeout(WAIT_SECONDS):
            message = await self.requests.receive()
        if message is None:
            raise ConnectionLost
        if message.needs_reply:
            self.requests.send(message.request, vu.REPLY, vu.U64(0).pack(), [])
        return message

    async def lost(self) -> bool:
        """Wait until the back end closes the connection. Returns False if a message comes first."""
        try:
            await self.answer()
        except ConnectionLost:
            return True
        return False

    # -- Set-up -----------------------------------------------------------------------------------

    async def negotiate(self, *, without: int = 0, protocol: ProtocolFeature = PROTOCOL) -> None:
        """Accept all offered features except `without`, and the protocol features of `protocol`."""
        await self.tell(Request.SET_OWNER)
        offered = await self.ask_u64(Request.GET_FEATURES)
        self.protocol = protocol & await self.ask_u64(Request.GET_PROTOCOL_FEATURES)
        await self.tell(Request.SET_PROTOCOL_FEATURES, vu.U64(self.protocol))
        self.features = offered & ~without
        await self.tell(Request.SET_FEATURES, vu.U64(self.features))

    async def take_requests(self) -> None:
        """Give the back end a socket for requests."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            await self.tell(Request.SET_BACKEND_REQ_FD, descriptors=[theirs.fileno()])
        self.requests = MessageSocket(ours)

    async def share(self, ram: FrontEndRam | None = None) -> None:
        """Share the memory with the back end."""
        ram = ram or self.ram
        await self.tell(Request.SET_MEM_TABLE, vu.MemoryTable((ram.region,)), [ram.descriptor])

    async def take_logs(self, rings: int = 1, size: int = 64) -> None:
        """Let the back end make in-flight logs for `rings` rings, and set them."""
        self.post(Request.GET_INFLIGHT_FD, vu.Inflight(0, 0, rings, size))
        answer = await self.answer()
        self.logs = (vu.Inflight.parse(answer.payload), answer.descriptors.pop())
        await self.give_logs()

    async def give_logs(self) -> None:
        """Send the in-flight logs to the back end, if there are any."""
        if self.logs is not None:
            description, descriptor = self.logs
            await self.tell(Request.SET_INFLIGHT_FD, description, [descriptor])

    async def reconnect(self, path: Path) -> None:
        """Connect to a new back end after the old one has ended, and continue all rings.

        Each ring gets base 0, since the in-flight logs tell where it continues.
        """
        self.socket.close()
        self.connection = await connect(path)
        self.socket = MessageSocket(self.connection)
        await self.tell(Request.SET_PROTOCOL_FEATURES, vu.U64(self.protocol))
        await self.tell(Request.SET_FEATURES, vu.U64(self.features))
        await self.give_logs()
        await self.share()
        for ring in self.rings:
            await self.set_up_ring(ring, base=0)

    async def start_ring(self, index: int = 0, size: int = 64) -> FrontEndRing:
        """Make a ring, and start it."""
        ring = FrontEndRing.make(index, self.ram, size, self.features)
        self.rings.append(ring)
        packed = self.features & Feature.VIRTIO_F_RING_PACKED
        await self.set_up_ring(ring, base=FIRST_PACKED_BASE if packed else 0)
        return ring

    async def set_up_ring(self, ring: FrontEndRing, *, base: int | None) -> None:
        """Describe, start and enable a ring."""
        await self.describe_ring(ring, base=base)
        await self.tell(Request.SET_VRING_ENABLE, vu.VringState(ring.index, 1))

    async def describe_ring(self, ring: FrontEndRing, *, base: int | None) -> None:
        """Describe a ring, and start it. Without `base`, SET_VRING_BASE is not sent."""
        index = ring.index
        await self.tell(Request.SET_VRING_NUM, vu.VringState(index, ring.layout.size))
        if base is not None:
            await self.tell(Request.SET_VRING_BASE, vu.VringState(index, base))
        await self.tell(Request.SET_VRING_ADDR, ring.areas)
        await self.tell(Request.SET_VRING_CALL, vu.U64(index), [ring.call])
        await self.tell(Request.SET_VRING_ERR, vu.U64(index), [ring.error])
        await self.tell(Request.SET_VRING_KICK, vu.U64(index), [ring.kick])

    async def stop_ring(self, ring: FrontEndRing) -> int:
        """Stop a ring. Returns its base."""
        answer = await self.ask(Request.GET_VRING_BASE, vu.VringState(ring.index, 0))
        return vu.VringState.parse(answer).num

    async def read_config(self, offset: int, size: int) -> bytes:
        """Read the configuration space."""
        answer = await self.ask(Request.GET_CONFIG, vu.Config(offset, 0, bytes(size)))
        return vu.Config.parse(answer).content

    def close(self) -> None:
        """Close the connection and all descriptors, without another message."""
        self.socket.close()
        if self.requests is not None:
            self.requests.close()
        while self.rings:
            self.rings.pop().close()
        if self.logs is not None:
            os.close(self.logs[1])
        self.ram.close()


async def connect(path: Path) -> socket.socket:
    """Connect to a socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.setblocking(False)  # noqa: FBT003 - as socket has it
    await asyncio.get_running_loop().sock_connect(connection, str(path))
    return connection
