"""What a CPU says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from virtmesh_common.api.cpu.v1 import cpu_pb2 as pb

STATES = {
    pb.CPU_STATE_WAITING: "waiting",
    pb.CPU_STATE_RUNNING: "running",
    pb.CPU_STATE_STALLED: "stalled",
    pb.CPU_STATE_STOPPED: "stopped",
    pb.CPU_STATE_OFF: "off",
}
REASONS = {
    pb.STOP_REASON_ASKED: "asked",
    pb.STOP_REASON_STEPPED: "stepped",
    pb.STOP_REASON_BREAKPOINT: "breakpoint",
    pb.STOP_REASON_WATCHPOINT: "watchpoint",
    pb.STOP_REASON_POWEROFF: "poweroff",
    pb.STOP_REASON_FAIL: "fail",
}


@dataclass(frozen=True)
class CpuStatus:
    """How a CPU is.

    Example:
        with virtmesh_client.connect() as machine:
            status = machine.cpu().stop()
        print(status.state, hex(status.pc))
    """

    state: str
    """"waiting" (for devices), "running", "stalled" (a device is lost), "stopped" or "off"."""
    reason: str
    """Why it is stopped: "asked", "stepped", "breakpoint", "watchpoint", "poweroff", "fail"; empty
    while it is not."""
    pc: int
    """Program counter; of a CPU that runs, as of the last stop."""
    symbol: str
    """What is there, where the kernel's file says it; empty otherwise."""
    code: int
    """The guest's code, if it has failed."""
    address: int
    """What was touched, of a watchpoint."""
    missing: tuple[str, ...]
    """Names of the devices that it waits for."""
    boots: int
    """How often the guest has booted."""


def to_status(status: pb.Status) -> CpuStatus:
    """Return what a message says."""
    return CpuStatus(
        state=STATES.get(status.state, "unknown"),
        reason=REASONS.get(status.reason, ""),
        pc=status.pc,
        symbol=status.symbol,
        code=status.code,
        address=status.address,
        missing=tuple(status.missing),
        boots=status.boots,
    )
