"""Writes that set reserved bits: they have no effect, and are counted, traced and logged once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog

from virtmesh_common.api.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from virtmesh_native import Interrupt

    from virtmesh_common.registers import Register

log = structlog.get_logger(__name__)


class ReservedBits:
    """What a driver wrote to the reserved bits of one device's registers.

    `interrupt` has the flight recorder, which can be set after the device is made; None: no trace.
    """

    def __init__(self, interrupt: Interrupt | None = None) -> None:
        self._interrupt = interrupt
        self.writes: Counter[str] = Counter()
        """Writes that set reserved bits and were executed, by name of the register."""

    def note(self, register: Register, value: int) -> None:
        """Note a write that was executed and that set reserved bits."""
        bits = value & register.reserved_bits
        if not self.writes[register.name]:
            log.warning(
                "the driver set reserved bits, which have no effect; said once for each register",
                register=register.name,
                clause=register.clause,
                value=f"{value:#x}",
                reserved=f"{bits:#x}",
            )
        self.writes[register.name] += 1
        if self._interrupt is not None:
            self._interrupt.recorder.record(
                trace_pb2.EVENT_KIND_RESERVED_BITS,
                detail=register.size,
                token=register.offset,
                value=value,
                extra=bits,
            )
