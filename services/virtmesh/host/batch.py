"""Execute batches of register accesses in order (virtmesh.register.v1.RegisterService.Access).

A write that begins a reset, or the stop of a queue, is answered when that is complete. Until then
the batch waits, for a bounded time, and everybody else goes on. A batch that takes long pauses, and
others have a turn before it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from time import monotonic_ns
from typing import TYPE_CHECKING

from virtmesh.host.cycles import GUARD, WRITE, find_cycles
from virtmesh.mmio.device import BurstDevice, CycleDevice
from virtmesh.rpc.turns import Turns
from virtmesh_common.errors import BadWidth, RegisterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.mmio.device import Cycles, Device

__all__ = ["GUARD", "WRITE", "BatchExecutor", "BatchResult"]

GUARD_WIDTH_MAX = 4
"""Widest guard in bytes. Its mask and its expected value share one 64-bit column."""

SLICE = 16
"""Accesses that are executed between two looks at the clock."""
SLICE_OF_RUNS = 256
"""The same for a device that executes a run of accesses at once."""
SEVERAL = 6
"""Accesses of the shortest batch in which cycles are looked for."""
SHORT = 3
"""To look for runs in a batch of so many accesses costs more than they do."""


@dataclass(slots=True)
class BatchResult:
    """Result of a batch."""

    values: list[int] = field(default_factory=list)
    """A value for each executed access; 0 for a write."""
    writes: int = 0
    """Number of executed writes."""
    error: RegisterError | None = None
    """The error of the access that was refused and ended the batch."""
    waiting: bool = False
    """The last access began a reset, or the stop of a queue, and it is not complete."""
    paused: bool = False
    """It has taken its time for now: others have a turn before the rest of it."""
    ended: bool = False
    """The last access was a guard that is not met."""

    @property
    def unfinished(self) -> bool:
        """Whether a part is still to be executed."""
        return self.waiting or self.paused

    def extend(self, rest: BatchResult) -> None:
        """Add the result of the rest of the batch."""
        self.values += rest.values
        self.writes += rest.writes
        self.error, self.waiting = rest.error, rest.waiting
        self.paused, self.ended = rest.paused, rest.ended


class BatchExecutor:
    """Executes batches on a device."""

    def __init__(self, device: Device, turns: Turns | None = None, turn_us: int = 0) -> None:
        """Execute on a device. A batch pauses after `turn_us` for others; 0: it never does."""
        self._device = device
        self._burst = device if isinstance(device, BurstDevice) else None
        self._cycles = device if isinstance(device, CycleDevice) else None
        self._slice = SLICE if self._burst is None else SLICE_OF_RUNS
        self._turns = turns or Turns()
        self._turn_ns = turn_us * 1000

    async def execute_waiting(
        self,
        offsets: list[int],
        ops: list[int],
        values: list[int],
        check: Callable[[], object],
    ) -> BatchResult:
        """Like `execute`, but wait for each reset that an access begins, at most RESET_SECONDS.

        `check` raises, after a wait, what ends the batch: its driver may have lost the device.
        """
        done = self.execute(offsets, ops, values)
        await self.resume(done, offsets, ops, values, check)
        return done

    async def resume(
        self,
        done: BatchResult,
        offsets: list[int],
        ops: list[int],
        values: list[int],
        check: Callable[[], object],
    ) -> None:
        """Wait while the batch has to, and execute the rest of it.

        `check` raises, after a wait, what ends the batch: its driver may have lost the device.
        """
        while done.unfinished:
            if done.waiting:
                await self._device.reset_done()  # At most RESET_SECONDS.
            else:
                await self._turns.take()
            check()
            start = len(done.values)
            done.extend(self.execute(offsets[start:], ops[start:], values[start:]))

    def execute(self, offsets: list[int], ops: list[int], values: list[int]) -> BatchResult:
        """Execute a batch until an access is refused, begins a wait, or is a guard not met.

        A long one pauses when it has taken its time. The columns `offsets`, `ops` and `values` have
        the same length.
        """
        size, count = self._slice, len(offsets)
        device = self._cycles if count >= SEVERAL else None
        cycles = None if device is None else find_cycles(offsets, ops, values)
        if cycles is None and (count <= size or not self._turn_ns):
            return self._execute(offsets, ops, values)
        done, until = BatchResult(), monotonic_ns() + self._turn_ns
        if device is not None and cycles is not None:
            self._in_cycles(device, cycles, done)
        if not self._turn_ns:
            size = count
        for start in range(len(done.values), count, size):
            end = start + size
            done.extend(self._execute(offsets[start:end], ops[start:end], values[start:end]))
            if done.error is not None or done.waiting or done.ended:
                break
            if end < count and monotonic_ns() >= until:
                done.paused = True
                break
        return done

    @staticmethod
    def _in_cycles(device: CycleDevice, cycles: Cycles, done: BatchResult) -> None:
        """Execute what the device does in one piece of the cycles that a batch begins with.

        No other has a turn meanwhile: the largest batch takes about as long as a turn.
        """
        results = device.run_cycles(cycles)
        done.values += results
        if cycles.writes is not None:
            done.writes += len(results) // (len(cycles.guards) + cycles.length) * cycles.length

    def _execute(self, offsets: list[int], ops: list[int], values: list[int]) -> BatchResult:
        """Execute accesses without a pause."""
        done = BatchResult()
        try:
            if len(offsets) == 1:  # What a CPU sends.
                self._one(offsets[0], ops[0], values[0], done)
            elif self._burst is None or len(offsets) <= SHORT:
                for access in zip(offsets, ops, values, strict=True):
                    if not self._one(*access, done):
                        break
            else:
                self._in_runs(self._burst, offsets, ops, values, done)
        except RegisterError as error:
            done.error = error
        return done

    def _one(self, offset: int, op: int, value: int, done: BatchResult) -> bool:
        """Execute an access. Returns False for a guard not met, and where the batch has to wait."""
        if op & WRITE:
            self._device.write(offset, op ^ WRITE, value)
            done.writes += 1
            done.values.append(0)
            done.waiting = self._device.settling
            return not done.waiting
        if op & GUARD:
            done.values.append(read := self._read_guarding(offset, op ^ GUARD))
            done.ended = read & value >> 32 != value & 0xFFFF_FFFF
            return not done.ended
        done.values.append(self._device.read(offset, op))
        return True

    def _in_runs(
        self,
        device: BurstDevice,
        offsets: list[int],
        ops: list[int],
        values: list[int],
        done: BatchResult,
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
        self, device: BurstDevice, offset: int, op: int, values: Sequence[int], done: BatchResult
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
        """Read the register of a guard. Errors: BadWidth, BadOffset and others of RegisterError."""
        if width > GUARD_WIDTH_MAX:
            raise BadWidth(
                f"a guard can read at most {8 * GUARD_WIDTH_MAX} bits, not {8 * width}: use a plain"
                " read"
            )
        return self._device.read(offset, width)
