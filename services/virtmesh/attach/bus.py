"""The bus: a driver's view of one attached device, wherever that device runs.

A driver reads and writes registers in batches, notifies queues, receives interrupts, and owns the
RAM that the device sees. `GrpcBus` (virtmesh.attach.grpc_bus) reaches a device service, `LocalBus`
(virtmesh.testing) a device model in the same process; drivers can't tell them apart.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    import grpc.aio
    from virtmesh_native import Recorder

    from virtmesh.attach.guest_ram import Ram
    from virtmesh_common.registers import Register

BATCH_LIMIT = 4000
"""Most accesses of one batch: what a packet of the register channel holds (virtmesh.memory.v1)."""
WRITE_OP = 0x80
"""Added to the width of a write (virtmesh.register.v1.AccessRequest.ops)."""
GUARD_OP = 0x40
"""Added to the width of a guard."""
ENTRY = struct.Struct("<IB3xQ")
"""An access in a packet of the register channel: offset, op, value."""


@dataclass(frozen=True, slots=True)
class Access:
    """One register access: offset and width in bytes; a read without a value, else a write.

    A read with `expect` is a guard: what follows it in its batch is executed only if the value
    ANDed with the mask (first) is the expected one (second).
    """

    offset: int
    width: int
    value: int | None = None
    expect: tuple[int, int] | None = None

    def met_by(self, value: int) -> bool:
        """Return True if the batch continues after this access has read `value`."""
        return self.expect is None or value & self.expect[0] == self.expect[1]


def reading(register: Register, width: int | None = None) -> Access:
    """Make the access that reads a register (its first `width` bytes)."""
    return Access(register.offset, width or register.widths[0])


def writing(register: Register, value: int) -> Access:
    """Make the access that writes a register."""
    return Access(register.offset, register.size, value)


def guarding(register: Register, mask: int, expected: int) -> Access:
    """Make the guard that lets a batch go on while (register & mask) == expected."""
    return Access(register.offset, register.widths[0], expect=(mask, expected))


def columns(batch: Sequence[Access]) -> tuple[list[int], list[int], list[int]]:
    """Return a batch as the offsets, ops and values of an AccessRequest."""
    offsets, ops, values = [], [], []
    for one in batch:
        offsets.append(one.offset)
        if one.value is not None:
            ops.append(one.width | WRITE_OP)
            values.append(one.value)
        elif one.expect is not None:
            mask, expected = one.expect
            ops.append(one.width | GUARD_OP)
            values.append(mask << 32 | expected)
        else:
            ops.append(one.width)
            values.append(0)
    return offsets, ops, values


class Bus(ABC):
    """One attached device. Everything happens on the event loop that made the bus.

    Once `lost` is done, every access, pending or new, raises its result, a DeviceLost.
    """

    name: str
    """Name of the device, for people."""
    kind: str = ""
    """Kind of the device (DescribeResponse.kind); empty if the bus was not told."""
    recorder: Recorder | None = None
    """Flight recorder of the driver's queues. Set it before making queues."""
    channel: grpc.aio.Channel | None = None
    """The channel to the device service, for calls of its kind; None if there is no service."""
    ram: Ram
    """The memory that the device sees."""
    vectored: bool
    """True if each cause of interrupts has an eventfd of its own: for used buffers, InterruptStatus
    then need not be read, and InterruptACK need not be written."""
    lost: asyncio.Future[DeviceLost]
    """Done when the device is lost. The result says why."""

    @abstractmethod
    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute accesses in order, as one piece: the value read by each, 0 for a write.

        A guard that is not met ends the batch: its value is the last one then.
        Errors: RegisterError classes, when the device refuses an access (those before it are
        executed, those behind it are not; metadata "index"); DeviceLost.
        """

    @abstractmethod
    def notify(self, queue: int) -> None:
        """Notify a queue. Returns at once. Notifications during another one are merged."""

    @abstractmethod
    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Set the handler of interrupts. It gets the bits of InterruptStatus that were raised.

        The handler is called after every interrupt; interrupts can be merged into one call.
        """

    @abstractmethod
    async def close(self) -> None:
        """Detach: the device is reset, and the bus is closed. The RAM stays open."""

    async def read(self, register: Register) -> int:
        """Read one register. Errors: RegisterError classes; DeviceLost."""
        (value,) = await self.access([reading(register)])
        return value

    async def write(self, register: Register, value: int) -> None:
        """Write one register. Errors: RegisterError classes; DeviceLost."""
        await self.access([writing(register, value)])

    def check(self) -> None:
        """Check that the device is not lost. Errors: DeviceLost."""
        if self.lost.done():
            raise lost_again(self.lost)


def lost_again(lost: asyncio.Future[DeviceLost]) -> DeviceLost:
    """Return a new exception for a lost bus: each one that is raised needs its own traceback."""
    if lost.cancelled():
        return DeviceLost("this driver has detached from the device: attach again")
    return lost.result().again()
