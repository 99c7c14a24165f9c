"""Batches of register accesses, executed in order as one piece (virtmesh.register.v1.Access)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from virtmesh.mmio.device import BurstDevice
from virtmesh_common.errors import BadWidth, RegisterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh.mmio.device import Device

WRITE = 0x80
"""Set in an op for a write (register.proto)."""
GUARD = 0x40
"""Set in an op for a guard (register.proto)."""
GUARD_WIDTH_MAX = 4
"""Widest guard, in bytes: mask and expected value share one column."""


@dataclass
class Done:
    """What became of a batch: a value for each executed access, and the refusal that ended it."""

    values: list[int] = field(default_factory=list)
    writes: int = 0
    error: RegisterError | None = None


class BatchExecutor:
    """Executes batches on a device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._burst = device if isinstance(device, BurstDevice) else None

    def execute(self, offsets: Sequence[int], ops: Sequence[int], values: Sequence[int]) -> Done:
        """Execute a batch, given as columns of one length, until an access or a guard ends it."""
        done = Done()
        try:
            if self._burst is None:
                self._one_by_one(zip(offsets, ops, values, strict=True), done)
            else:
                self._in_runs(self._burst, offsets, ops, list(values), done)
        except RegisterError as error:
            done.error = error
        return done

    def _one_by_one(self, accesses: Iterable[tuple[int, int, int]], done: Done) -> bool:
        """Execute accesses: offset, op, value of each; False when a guard ended them."""
        return all(self._one(*access, done) for access in accesses)

    def _one(self, offset: int, op: int, value: int, done: Done) -> bool:
        """Execute an access; False when it is a guard that is not met."""
        if op & WRITE:
            self._device.write(offset, op ^ WRITE, value)
            done.writes += 1
            done.values.append(0)
            return True
        if op & GUARD:
            done.values.append(read := self._read_guarding(offset, op ^ GUARD))
            return read & value >> 32 == value & 0xFFFF_FFFF
        done.values.append(self._device.read(offset, op))
        return True

    def _in_runs(
        self,
        device: BurstDevice,
        offsets: Sequence[int],
        ops: Sequence[int],
        values: Sequence[int],
        done: Done,
    ) -> None:
        """Execute accesses; the device does the first ones of a run of equal ones at once."""
        start = 0
        for (offset, op), run in groupby(zip(offsets, ops, strict=True)):
            end = start + len(list(run))
            if end - start > 1 and not op & GUARD:
                start += self._at_once(device, offset, op, values[start:end], done)
            for value in values[start:end]:
                if not self._one(offset, op, value, done):
                    return
            start = end

    def _at_once(
        self, device: BurstDevice, offset: int, op: int, values: Sequence[int], done: Done
    ) -> int:
        """Execute the first of equal accesses in one piece; return how many those are."""
        if op & WRITE:
            written = device.write_run(offset, op ^ WRITE, values)
            done.writes += written
            done.values += [0] * written
            return written
        read = device.read_run(offset, op, len(values))
        done.values += read
        return len(read)

    def _read_guarding(self, offset: int, width: int) -> int:
        """Read what a guard looks at. Errors: BadWidth; as Device.read."""
        if width > GUARD_WIDTH_MAX:
            raise BadWidth(f"a guard reads at most {8 * GUARD_WIDTH_MAX} bits, not {8 * width}")
        return self._device.read(offset, width)
