"""Batches of register accesses, executed in order as one piece (virtmesh.register.v1.Access)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from virtmesh.device import BurstDevice
from virtmesh.errors import BadWidth, RegisterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.device import Device

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
                self._one_by_one(offsets, ops, values, done)
            else:
                self._in_runs(self._burst, offsets, ops, values, done)
        except RegisterError as error:
            done.error = error
        return done

    def _one_by_one(
        self, offsets: Sequence[int], ops: Sequence[int], values: Sequence[int], done: Done
    ) -> bool:
        """Execute accesses; False when a guard ended them."""
        device, results = self._device, done.values
        for offset, op, value in zip(offsets, ops, values, strict=True):
            if op & WRITE:
                device.write(offset, op ^ WRITE, value)
                done.writes += 1
                results.append(0)
            elif op & GUARD:
                results.append(read := self._read_guarding(offset, op ^ GUARD))
                if read & value >> 32 != value & 0xFFFF_FFFF:
                    return False
            else:
                results.append(device.read(offset, op))
        return True

    def _in_runs(
        self,
        device: BurstDevice,
        offsets: Sequence[int],
        ops: Sequence[int],
        values: Sequence[int],
        done: Done,
    ) -> None:
        """Execute accesses, handing runs of equal ones over in one piece."""
        start = 0
        for (offset, op), run in groupby(zip(offsets, ops, strict=True)):
            end = start + sum(1 for _ in run)
            if end - start > 1 and self._run(device, offset, op, values[start:end], done):
                start = end
                continue
            span = slice(start, end)
            if not self._one_by_one(offsets[span], ops[span], values[span], done):
                return
            start = end

    def _run(
        self, device: BurstDevice, offset: int, op: int, values: Sequence[int], done: Done
    ) -> bool:
        """Execute equal accesses in one piece; False when the device wants them one by one."""
        if op & WRITE:
            written = device.write_run(offset, op ^ WRITE, values)
            if written is None:
                return False
            done.writes += written
            done.values += [0] * written
            return True
        read = None if op & GUARD else device.read_run(offset, op, len(values))
        if read is None:
            return False
        done.values += read
        return True

    def _read_guarding(self, offset: int, width: int) -> int:
        """Read what a guard looks at. Errors: BadWidth; as Device.read."""
        if width > GUARD_WIDTH_MAX:
            raise BadWidth(f"a guard reads at most {8 * GUARD_WIDTH_MAX} bits, not {8 * width}")
        return self._device.read(offset, width)
