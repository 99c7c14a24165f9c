"""What a power loss leaves on a disk: states that are legal, and a command that judges them."""

from virtmesh_client.powerloss.check import PowerLossOptions, build_state, check_power_loss
from virtmesh_client.powerloss.log import read_log
from virtmesh_client.powerloss.report import PowerLossReport, Violation

__all__ = [
    "PowerLossOptions",
    "PowerLossReport",
    "Violation",
    "build_state",
    "check_power_loss",
    "read_log",
]
