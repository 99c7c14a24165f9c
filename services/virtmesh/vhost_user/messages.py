"""The messages of vhost-user as data: numbers, payloads, descriptors, required features.

https://qemu-project.gitlab.io/qemu/interop/vhost-user.html has the names. A payload is parsed whole
into a frozen object before it is used. Numbers are in native byte order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from enum import IntEnum, IntFlag
from typing import ClassVar, Self

from virtmesh_common.errors import FrontEndViolation

HEADER = struct.Struct("=III")
"""Request, flags, size of the payload in bytes ("Header")."""
VERSION = 1
"""Bits 0 and 1 of the flags."""
REPLY = 1 << 2
"""Flag: an answer of the other side."""
NEED_REPLY = 1 << 3
"""Flag: the sender wants an answer, with REPLY_ACK."""
FLAGS = VERSION | REPLY | NEED_REPLY
"""Every flag there is."""
VHOST_USER_F_PROTOCOL_FEATURES = 1 << 30
"""Device feature bit: protocol features can be negotiated."""
REGIONS_MAX = 8
"""Most regions of one message ("Multiple Memory regions description")."""
SLOTS_MAX = 32
"""Most regions of guest memory, which ADD_MEM_REG adds one by one."""
CONFIG_MAX = 256
"""Largest configuration space that is read or written, in bytes (QEMU's limit)."""
CONFIG_FLAGS = range(2)
"""Flags of SET_CONFIG: a write of the driver, or a migration. Read-only fields are ignored."""
SIZE_MAX = 32768
"""Largest ring, in entries (virtio 1.4, 2.7)."""
INVALID_FD = 1 << 8
"""Bit of SET_VRING_KICK, CALL and ERR: no descriptor came, so poll."""


class ProtocolFeature(IntFlag):
    """VHOST_USER_PROTOCOL_F_* ("Protocol features")."""

    MQ = 1 << 0
    REPLY_ACK = 1 << 3
    BACKEND_REQ = 1 << 5
    CONFIG = 1 << 9
    INFLIGHT_SHMFD = 1 << 12
    RESET_DEVICE = 1 << 13
    INBAND_NOTIFICATIONS = 1 << 14
    CONFIGURE_MEM_SLOTS = 1 << 15
    STATUS = 1 << 16


class Request(IntEnum):
    """VHOST_USER_*: what a front end may send ("Front-end message types")."""

    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SET_BACKEND_REQ_FD = 21
    GET_CONFIG = 24
    SET_CONFIG = 25
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    RESET_DEVICE = 34
    VRING_KICK = 35
    GET_MAX_MEM_SLOTS = 36
    ADD_MEM_REG = 37
    REM_MEM_REG = 38
    SET_STATUS = 39
    GET_STATUS = 40


class BackendRequest(IntEnum):
    """VHOST_USER_BACKEND_*: what a back end may send ("Back-end message types")."""

    CONFIG_CHANGE_MSG = 2
    VRING_CALL = 4
    VRING_ERR = 5


@dataclass(frozen=True)
class Payload:
    """A payload of fixed size; this one is empty."""

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("=")

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a payload whole. Errors: FrontEndViolation for a wrong size."""
        if len(data) != cls.LAYOUT.size:
            raise FrontEndViolation(
                f"a payload of {len(data)} bytes; {cls.__name__} has {cls.LAYOUT.size}"
            )
        return cls(*cls.LAYOUT.unpack(data))

    def pack(self) -> bytes:
        """Return the bytes of it."""
        return self.LAYOUT.pack(*(getattr(self, each.name) for each in fields(self)))


@dataclass(frozen=True)
class U64(Payload):
    """A single 64-bit integer."""

    LAYOUT = struct.Struct("=Q")
    value: int


@dataclass(frozen=True)
class VringState(Payload):
    """A vring state description, or descriptor indexes of a vring."""

    LAYOUT = struct.Struct("=II")
    index: int
    num: int


@dataclass(frozen=True)
class VringAddress(Payload):
    """A vring address description: user addresses of the parts of a ring."""

    LAYOUT = struct.Struct("=II4Q")
    index: int
    flags: int
    descriptor: int
    used: int
    available: int
    log: int


@dataclass(frozen=True)
class MemoryRegion(Payload):
    """A memory region description: addresses, size and offset in bytes."""

    LAYOUT = struct.Struct("=4Q")
    guest_address: int
    size: int
    user_address: int
    mmap_offset: int


@dataclass(frozen=True)
class SingleRegion(Payload):
    """A single memory region description."""

    LAYOUT = struct.Struct("=Q4Q")
    padding: int
    guest_address: int
    size: int
    user_address: int
    mmap_offset: int

    @property
    def region(self) -> MemoryRegion:
        """The region, without the padding."""
        return MemoryRegion(self.guest_address, self.size, self.user_address, self.mmap_offset)


@dataclass(frozen=True)
class MemoryTable(Payload):
    """A description of several memory regions."""

    LAYOUT = struct.Struct("=II")
    regions: tuple[MemoryRegion, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a table. Bytes behind its last region are ignored."""
        if len(data) < cls.LAYOUT.size:
            raise FrontEndViolation(f"a payload of {len(data)} bytes holds no MemoryTable")
        count, _ = cls.LAYOUT.unpack_from(data)
        if not 1 <= count <= REGIONS_MAX:
            raise FrontEndViolation(f"{count} memory regions; 1 to {REGIONS_MAX} are possible")
        table, each = data[cls.LAYOUT.size :], MemoryRegion.LAYOUT.size
        if len(table) < count * each:
            raise FrontEndViolation(
                f"a payload of {len(data)} bytes holds no {count} memory regions"
            )
        return cls(
            tuple(MemoryRegion.parse(table[each * n : each * (n + 1)]) for n in range(count))
        )

    def pack(self) -> bytes:
        """Return the bytes of it."""
        head = self.LAYOUT.pack(len(self.regions), 0)
        return head + b"".join(region.pack() for region in self.regions)


@dataclass(frozen=True)
class Config(Payload):
    """A part of the configuration space: offset in bytes, and its content."""

    LAYOUT = struct.Struct("=III")
    offset: int
    flags: int
    content: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse a payload whole."""
        if len(data) < cls.LAYOUT.size:
            raise FrontEndViolation(f"a payload of {len(data)} bytes holds no Config")
        offset, size, flags = cls.LAYOUT.unpack_from(data)
        content = data[cls.LAYOUT.size :]
        if len(content) != size:
            raise FrontEndViolation(f"Config: {len(content)} bytes came; its size says {size}")
        return cls(offset, flags, content)

    def pack(self) -> bytes:
        """Return the bytes of it."""
        return self.LAYOUT.pack(self.offset, len(self.content), self.flags) + self.content


@dataclass(frozen=True)
class Inflight(Payload):
    """An inflight description: size and offset in bytes, rings, entries of each.

    On the wire it has the padding of a C structure: QEMU sends and accepts only this form.
    """

    LAYOUT = struct.Struct("=QQHH4x")
    mmap_size: int
    mmap_offset: int
    num_queues: int
    queue_size: int


@dataclass(frozen=True)
class Shape:
    """What a message looks like, and the protocol feature that it needs."""

    payload: type[Payload] = Payload
    descriptors: range = range(1)
    """Allowed numbers of descriptors."""
    feature: ProtocolFeature = field(default_factory=lambda: ProtocolFeature(0))
    """The protocol feature that must be negotiated."""
    replies: bool = False
    """It is always answered, so NEED_REPLY changes nothing."""


_ONE = range(1, 2)
_PERHAPS_ONE = range(2)
_MEM_SLOTS = ProtocolFeature.CONFIGURE_MEM_SLOTS
_INFLIGHT = ProtocolFeature.INFLIGHT_SHMFD

SHAPES: dict[Request, Shape] = {
    Request.GET_FEATURES: Shape(replies=True),
    Request.SET_FEATURES: Shape(U64),
    Request.SET_OWNER: Shape(),
    Request.RESET_OWNER: Shape(),
    Request.SET_MEM_TABLE: Shape(MemoryTable, range(1, REGIONS_MAX + 1)),
    Request.SET_VRING_NUM: Shape(VringState),
    Request.SET_VRING_ADDR: Shape(VringAddress),
    Request.SET_VRING_BASE: Shape(VringState),
    Request.GET_VRING_BASE: Shape(VringState, replies=True),
    Request.SET_VRING_KICK: Shape(U64, _PERHAPS_ONE),
    Request.SET_VRING_CALL: Shape(U64, _PERHAPS_ONE),
    Request.SET_VRING_ERR: Shape(U64, _PERHAPS_ONE),
    Request.GET_PROTOCOL_FEATURES: Shape(replies=True),
    Request.SET_PROTOCOL_FEATURES: Shape(U64),
    Request.GET_QUEUE_NUM: Shape(feature=ProtocolFeature.MQ, replies=True),
    Request.SET_VRING_ENABLE: Shape(VringState),
    Request.SET_BACKEND_REQ_FD: Shape(Payload, _ONE, ProtocolFeature.BACKEND_REQ),
    Request.GET_CONFIG: Shape(Config, feature=ProtocolFeature.CONFIG, replies=True),
    Request.SET_CONFIG: Shape(Config, feature=ProtocolFeature.CONFIG),
    Request.GET_INFLIGHT_FD: Shape(Inflight, feature=_INFLIGHT, replies=True),
    Request.SET_INFLIGHT_FD: Shape(Inflight, _ONE, _INFLIGHT),
    Request.RESET_DEVICE: Shape(feature=ProtocolFeature.RESET_DEVICE),
    Request.VRING_KICK: Shape(VringState, feature=ProtocolFeature.INBAND_NOTIFICATIONS),
    Request.GET_MAX_MEM_SLOTS: Shape(feature=_MEM_SLOTS, replies=True),
    Request.ADD_MEM_REG: Shape(SingleRegion, _ONE, _MEM_SLOTS),
    # Some front ends wrongly send a descriptor: it is closed.
    Request.REM_MEM_REG: Shape(SingleRegion, _PERHAPS_ONE, _MEM_SLOTS),
    Request.SET_STATUS: Shape(U64, feature=ProtocolFeature.STATUS),
    Request.GET_STATUS: Shape(feature=ProtocolFeature.STATUS, replies=True),
}
"""Every message that is supported."""

PAYLOAD_LIMIT = max(
    MemoryTable.LAYOUT.size + REGIONS_MAX * MemoryRegion.LAYOUT.size,
    Config.LAYOUT.size + CONFIG_MAX,
)
"""Size of the largest payload, in bytes."""
