"""The one way to a device's registers, for gRPC and for the register channel.

Whichever way accesses come, the same code executes, counts and records them, so that guards,
errors, metrics and traces are the same. Its callers check the session before each batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.host.batch import WRITE, BatchExecutor, BatchResult
from virtmesh.host.register_recorder import RegisterRecorder
from virtmesh_common.errors import RegisterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.host.counters import HostCounters
    from virtmesh.mmio.device import Device
    from virtmesh.rpc.turns import Turns


@dataclass(slots=True)
class Batch:
    """Accesses in columns (register.proto), when they began, and how far they are."""

    offsets: list[int]
    ops: list[int]
    values: list[int]
    begun_ns: int
    done: BatchResult


class RegisterDispatcher:
    """Executes register accesses of one device, counts and records them."""

    def __init__(
        self,
        device: Device,
        counters: HostCounters,
        turns: Turns | None = None,
        turn_us: int = 0,
    ) -> None:
        self._device = device
        self._counters = counters
        self._executor = BatchExecutor(device, turns, turn_us)
        self._recorder = RegisterRecorder(device.interrupt.recorder)

    def execute(self, offsets: list[int], ops: list[int], values: list[int]) -> Batch:
        """Execute a batch. If its result is `unfinished`, `complete` has to execute the rest.

        The columns have the same length. Nothing else runs meanwhile.
        """
        begun = self._recorder.now()
        done = self._executor.execute(offsets, ops, values)
        batch = Batch(offsets, ops, values, begun, done)
        if not done.unfinished:
            self._account(batch)
        return batch

    async def complete(self, batch: Batch, check: Callable[[], object]) -> None:
        """Wait for resets that a batch begins, and for turns; execute the rest.

        Others go on meanwhile.

        `check` raises, after a wait, what ends the batch: its driver may have lost the device.
        """
        await self._executor.resume(batch.done, batch.offsets, batch.ops, batch.values, check)
        self._account(batch)

    def read(self, offset: int, width: int) -> int:
        """Read one register. Errors: RegisterError classes."""
        begun = self._recorder.now()
        try:
            value = self._device.read(offset, width)
        except RegisterError as error:
            self._refused(offset, width & ~WRITE, 0, error)
            raise
        self._counters.mmio_reads += 1
        self._recorder.executed(begun, [offset], [width], [0], [value])
        return value

    async def write(self, offset: int, width: int, value: int) -> None:
        """Write one register; wait for a reset that it begins. Errors: RegisterError classes."""
        begun, op = self._recorder.now(), width | WRITE
        try:
            self._device.write(offset, width, value)
        except RegisterError as error:
            self._refused(offset, op, value, error)
            raise
        if self._device.settling:
            await self._device.reset_done()
        self._counters.mmio_writes += 1
        self._recorder.executed(begun, [offset], [op], [value], [0])

    def _account(self, batch: Batch) -> None:
        """Count and record a batch."""
        done, counters = batch.done, self._counters
        self._recorder.executed(batch.begun_ns, batch.offsets, batch.ops, batch.values, done.values)
        counters.mmio_messages += 1
        counters.mmio_writes += done.writes
        counters.mmio_reads += len(done.values) - done.writes
        if done.error is not None:
            at = len(done.values)
            self._refused(batch.offsets[at], batch.ops[at], batch.values[at], done.error)

    def _refused(self, offset: int, op: int, value: int, error: RegisterError) -> None:
        """Count and record an access that was refused."""
        self._counters.mmio_errors += 1
        self._recorder.refused(offset, op, value, error)
