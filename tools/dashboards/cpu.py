"""The CPU service."""

from __future__ import annotations

from virtmesh.dashboards.board import STATES, Board, Panel, Row


def frequency(metric: str) -> str:
    """Return how often something happens in a second, for each CPU: a machine has one."""
    return f"sum by (machine) (rate({metric}{{$machines}}[$rate]))"


def rise(metric: str, by: str, chosen: str) -> tuple[str, str]:
    """Return how often something happened in the last ten minutes, and its legend."""
    return f"sum by ({by}) (increase({metric}{{{chosen}}}[10m]))", f"{{{{{by}}}}}"


ACCESSES = frequency("virtmesh_cpu_register_accesses_total")
WAITING = frequency("virtmesh_cpu_register_seconds_total")
RUNNING = frequency("virtmesh_cpu_run_seconds_total")
MIPS = f"{frequency('virtmesh_cpu_instructions_total')} / 1e6"

BOARD = Board(
    uid="virtmesh-cpu",
    title="virtmesh: CPU",
    meaning="The CPU service: how fast the guest runs, where its time goes, and its devices.",
    devices='label_values(virtmesh_cpu_device_state{machine=~"$machine"}, device)',
    rows=(
        Row(
            "CPU",
            (
                Panel(
                    "State",
                    "What the CPU does; stalled: the guest waits for a device that is lost.",
                    "none",
                    [("virtmesh_cpu_state{$machines} == 1", "{{machine}} {{state}}")],
                    STATES,
                    names={"1": "is"},
                ),
                Panel(
                    "Instructions",
                    "Instructions executed, in millions a second (MIPS), sleep included.",
                    "none",
                    [(MIPS, "{{machine}}")],
                ),
                Panel(
                    "Boots",
                    "Times that the guest booted in the last ten minutes.",
                    "none",
                    [rise("virtmesh_cpu_boots_total", "machine", "$machines")],
                ),
                Panel(
                    "Share of time in MMIO",
                    "The part of the time in which the CPU waits for answers of devices.",
                    "percentunit",
                    [(f"{WAITING} / {RUNNING}", "{{machine}}")],
                    limits=[0.1, 0.5],
                ),
                Panel(
                    "Share of time in WFI",
                    "The part of the time in which the guest sleeps until an interrupt.",
                    "percentunit",
                    [(f"{frequency('virtmesh_cpu_wfi_seconds_total')} / {RUNNING}", "{{machine}}")],
                ),
                Panel(
                    "Time of a register access",
                    "Mean time from an access to the answer of the device.",
                    "s",
                    [(f"{WAITING} / {ACCESSES}", "{{machine}}")],
                    limits=[0.001, 0.01],
                ),
                Panel(
                    "Exits",
                    "Times that the guest's instructions left the hart: register accesses,"
                    " notifications of queues, interrupts, and accesses where nothing is.",
                    "ops",
                    [
                        (ACCESSES, "{{machine}} registers"),
                        (
                            frequency("virtmesh_cpu_notifications_total"),
                            "{{machine}} notifications",
                        ),
                        (frequency("virtmesh_cpu_interrupts_total"), "{{machine}} interrupts"),
                        (frequency("virtmesh_cpu_holes_total"), "{{machine}} holes"),
                    ],
                    width=12,
                ),
                Panel(
                    "Refused and spurious",
                    "Register accesses that a device refused, and claims that found no interrupt.",
                    "ops",
                    [
                        (
                            frequency("virtmesh_cpu_register_accesses_refused_total"),
                            "{{machine}} refused",
                        ),
                        (
                            frequency("virtmesh_cpu_interrupts_spurious_total"),
                            "{{machine}} spurious",
                        ),
                    ],
                    width=12,
                    limits=[1, 10],
                ),
            ),
        ),
        Row(
            "Devices",
            (
                Panel(
                    "State of devices",
                    "Whether the CPU has each device; failed: it reads as absent.",
                    "none",
                    [("virtmesh_cpu_device_state{$sel} == 1", "{{device}} {{state}}")],
                    STATES,
                    width=12,
                    names={"1": "is"},
                ),
                Panel(
                    "Restorations",
                    "Times in the last ten minutes that a device that was lost was set up again as"
                    " it was.",
                    "none",
                    [rise("virtmesh_cpu_restorations_total", "device", "$sel")],
                    width=12,
                    limits=[3, 10],
                ),
            ),
        ),
    ),
)
