"""The CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.cpu.status import CpuState
from virtmesh.kernel.device import SILENT, ProbeState, shown_state
from virtmesh.telemetry.definitions import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.cpu.machine import CpuMachine

STATE = gauge(
    "virtmesh_cpu_state",
    "1 for what the CPU does: waiting, running, stalled (a device is lost), stopped or off.",
    "",
    "state",
)
DEVICE_STATE = gauge(
    "virtmesh_cpu_device_state",
    "1 for the state that a device is in: waiting, probing, ready, failed, or silent: in use, but"
    " its service does not answer.",
    "",
    "device",
    "state",
)
ATTACHES = counter(
    "virtmesh_cpu_attaches", "Times that a device was attached.", "attachments", "device"
)
RESTORATIONS = counter(
    "virtmesh_cpu_restorations",
    "Times that a device that was lost was set up again as it was.",
    "restorations",
    "device",
)
BOOTS = counter("virtmesh_cpu_boots", "Times that the guest booted.", "boots")
INSTRUCTIONS = counter("virtmesh_cpu_instructions", "Instructions executed.", "instructions")
MMIO = counter(
    "virtmesh_cpu_register_accesses", "Register accesses that went to a device.", "accesses"
)
MMIO_SECONDS = counter(
    "virtmesh_cpu_register_seconds", "Time in which the CPU waited for their answers.", "seconds"
)
REFUSED = counter(
    "virtmesh_cpu_register_accesses_refused",
    "Register accesses that a device refused: a write had no effect, a read gave 0.",
    "accesses",
)
NOTIFICATIONS = counter(
    "virtmesh_cpu_notifications",
    "Notifications of queues that went to a device by its eventfd.",
    "notifications",
)
HOLES = counter(
    "virtmesh_cpu_holes", "Accesses of the guest to addresses where nothing is.", "accesses"
)
WFI_SECONDS = counter("virtmesh_cpu_wfi_seconds", "Time asleep in WFI.", "seconds")
RUN_SECONDS = counter(
    "virtmesh_cpu_run_seconds", "Time in which the CPU ran, the others included.", "seconds"
)
INTERRUPTS = counter(
    "virtmesh_cpu_interrupts", "Interrupts that reached the interrupt controller.", "interrupts"
)
SPURIOUS = counter(
    "virtmesh_cpu_interrupts_spurious",
    "Claims of the guest that found no interrupt; Linux claims until there is none.",
    "interrupts",
)
STATES = (
    *(ProbeState.WAITING.name, ProbeState.PROBING.name, ProbeState.READY.name),
    *(ProbeState.FAILED.name, SILENT),
)


def cpu_metrics(machine: CpuMachine) -> Iterable[Metric]:
    """Return the metrics of a CPU, read now."""
    counted = machine.engine.stats()
    state = machine.status.now.state
    yield STATE.of(((one.name.lower(),), state is one) for one in CpuState)
    devices = machine.devices
    yield DEVICE_STATE.of(
        ((name, one.lower()), shown_state(device) == one)
        for name, device in devices.items()
        for one in STATES
    )
    yield ATTACHES.of(((name,), device.attaches) for name, device in devices.items())
    yield RESTORATIONS.of(((name,), device.restorations) for name, device in devices.items())
    yield BOOTS.one(machine.boots)
    yield INSTRUCTIONS.one(counted.get("instructions", 0))
    yield MMIO.one(counted.get("mmio_accesses", 0))
    yield MMIO_SECONDS.one(counted.get("mmio_ns", 0) / 1e9)
    yield REFUSED.one(counted.get("mmio_refused", 0))
    yield NOTIFICATIONS.one(counted.get("notifications", 0))
    yield HOLES.one(counted.get("holes", 0))
    yield WFI_SECONDS.one(counted.get("wfi_ns", 0) / 1e9)
    yield RUN_SECONDS.one(counted.get("run_ns", 0) / 1e9)
    yield INTERRUPTS.one(counted.get("interrupts", 0))
    yield SPURIOUS.one(counted.get("spurious", 0))
