"""How the kernel drives its devices."""

from __future__ import annotations

from dataclasses import dataclass

from virtmesh.machine import DoorbellKind, InterruptMode


@dataclass(frozen=True)
class Settings:
    """The same for every device of a machine.

    `memory` is the RAM of each device's driver in bytes; None: as much as the device tree says.
    """

    doorbell: DoorbellKind = DoorbellKind.EVENTFD
    interrupts: InterruptMode = InterruptMode.INTERRUPT
    memory: int | None = None
