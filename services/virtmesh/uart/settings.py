"""What a serial port is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.uart.line.scrollback import SCROLLBACK_BYTES
from virtmesh_common.uart.spec import Layout

if TYPE_CHECKING:
    from pathlib import Path

FREQUENCY = 3_686_400
"""Default clock in Hz: that of QEMU's riscv virt board."""


@dataclass(frozen=True)
class UartOptions:
    """What a serial port is made of.

    `clock` is its frequency in Hz, `scrollback` in bytes; output goes to `log_file` too.
    """

    layout: Layout = field(default_factory=Layout)
    pace: bool = False
    clock: int = FREQUENCY
    auto_flow: bool = False
    scrollback: int = SCROLLBACK_BYTES
    log_file: Path | None = None
