"""The bus: a driver's view of one attached device, wherever that device runs.

A driver reads and writes registers in batches, rings queues, hears interrupts, and owns the RAM
that the device sees. `GrpcBus` (virtmesh.attach.grpc_bus) reaches a device service, `LocalBus`
(virtmesh.testing) a device model in the same process; drivers can't tell them apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from virtmesh_native import Recorder

    from virtmesh.attach.guest_ram import Ram
    from virtmesh_common.registers import Register

BATCH_LIMIT = 4096
"""Most accesses of one batch (virtmesh.register.v1)."""
WRITE_OP = 0x80
"""Added to the width of a write (virtmesh.register.v1.AccessRequest.ops)."""
GUARD_OP = 0x40
"""Added to the width of a guard."""


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
        """Say whether what follows is executed once this access has read a value."""
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
    """Spell a batch as the offsets, ops and values of an AccessRequest."""
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
    """Kind of the device (DescribeResponse.kind), as far as it is known."""
    recorder: Recorder | None = None
    """Where the driver's queues record what they do (virtmesh.trace.v1): set it before they are."""
    ram: Ram
    """The memory that the device sees."""
    vectored: bool
    """True when each cause of interrupts has a line of its own, so that nothing needs to be read
    from InterruptStatus or acknowledged for used buffers."""
    lost: asyncio.Future[DeviceLost]
    """Done when the device is gone; its result says how."""

    @abstractmethod
    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute accesses in order, as one piece: the value read by each, 0 for a write.

        A guard that is not met ends the batch: its value is the last one then.
        Errors: RegisterError classes, when the device refuses an access (those before it are
        executed, those behind it are not; metadata "index"); DeviceLost.
        """

    @abstractmethod
    def notify(self, queue: int) -> None:
        """Ring a queue. Returns at once; rings that come while one travels are merged."""

    @abstractmethod
    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Have interrupts handled: the handler gets the bits of InterruptStatus that are news.

        Every raising of the line is followed by a call; several can be merged into one.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give the device back, reset, and let go of everything. The RAM stays its owner's."""

    async def read(self, register: Register) -> int:
        """Read one register. Errors: as `access`."""
        (value,) = await self.access([reading(register)])
        return value

    async def write(self, register: Register, value: int) -> None:
        """Write one register. Errors: as `access`."""
        await self.access([writing(register, value)])

    def check(self) -> None:
        """Raise DeviceLost once the device is gone."""
        if self.lost.done():
            raise lost_again(self.lost)


def lost_again(lost: asyncio.Future[DeviceLost]) -> DeviceLost:
    """Make a fresh exception of the one that a lost bus holds: each raiser needs its own trace."""
    if lost.cancelled():
        return DeviceLost("the device was given back")
    return lost.result().again()
