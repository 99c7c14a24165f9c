"""Record register accesses in the flight recorder (virtmesh.trace.v1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from virtmesh.host.batch import WRITE
from virtmesh_common.api.trace.v1 import trace_pb2 as pb

if TYPE_CHECKING:
    from virtmesh_native import Recorder

    from virtmesh_common.errors import RegisterError

DETAIL_MAX = 0x7F
"""Largest value of the field `detail` of an event."""
REASONS = {
    name.removeprefix("REFUSAL_REASON_"): number for name, number in pb.RefusalReason.items()
}
"""Numbers of RefusalReason by the reason of an error."""


class RegisterRecorder:
    """Records accesses, given in the columns of virtmesh.register.v1.AccessRequest."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._on = recorder.capacity > 0

    def now(self) -> int:
        """Return the present time for accesses that begin now, in nanoseconds."""
        return time.monotonic_ns()

    def executed(
        self,
        begun_ns: int,
        offsets: list[int],
        ops: list[int],
        values: list[int],
        results: list[int],
    ) -> None:
        """Record the first `len(results)` accesses, which were executed."""
        if self._on:
            self._recorder.record_registers(begun_ns, offsets, ops, values, results)

    def refused(self, offset: int, op: int, value: int, error: RegisterError) -> None:
        """Record an access that was refused. Its values come from the driver and may be invalid."""
        write = op & WRITE
        self._recorder.record(
            pb.EVENT_KIND_WRITE_REFUSED if write else pb.EVENT_KIND_READ_REFUSED,
            detail=min(op & ~WRITE, DETAIL_MAX),
            token=offset,
            value=value if write else 0,
            extra=REASONS.get(error.reason, pb.REFUSAL_REASON_UNSPECIFIED),
            text=error.message,
        )
