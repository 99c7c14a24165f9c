"""The native half of virtmesh; described in __init__.pyi."""

from virtmesh_native._native import (
    BlkDevice,
    Board,
    DeviceQueue,
    DriverQueue,
    Exit,
    FrontEndMemory,
    GuestMemory,
    InFlightLog,
    Interrupt,
    QueueConfig,
    Recorder,
    RegisterChannel,
    RingState,
    judged_rules,
    spec_constants,
)

__all__ = [
    "BlkDevice",
    "Board",
    "DeviceQueue",
    "DriverQueue",
    "Exit",
    "FrontEndMemory",
    "GuestMemory",
    "InFlightLog",
    "Interrupt",
    "QueueConfig",
    "Recorder",
    "RegisterChannel",
    "RingState",
    "judged_rules",
    "spec_constants",
]
