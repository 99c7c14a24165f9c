"""How the kernel drives its devices."""

from __future__ import annotations

from dataclasses import dataclass

from virtmesh.attach.notifier import DoorbellKind
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.telemetry.recorder import EVENTS_DEFAULT


@dataclass(frozen=True)
class Settings:
    """The same for every device of a machine.

    `recorder` is how many events are kept of each device's driver (virtmesh.trace.v1); 0: none.
    `memory` is the RAM of each device's driver in bytes; None: as much as the device tree says.
    `refused` are feature bits that the virtio drivers do without, though they are offered.
    """

    doorbell: DoorbellKind = DoorbellKind.EVENTFD
    interrupts: InterruptMode = InterruptMode.INTERRUPT
    memory: int | None = None
    recorder: int = EVENTS_DEFAULT
    refused: int = 0
