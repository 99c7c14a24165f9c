"""The native half of virtmesh; described in __init__.pyi."""

from virtmesh_native._native import (
    BlkDevice,
    DeviceQueue,
    DriverQueue,
    FrontEndMemory,
    GuestMemory,
    InFlightLog,
    Interrupt,
    QueueConfig,
    Recorder,
    RingState,
    judged_rules,
    spec_constants,
)

__all__ = [
    "BlkDevice",
    "DeviceQueue",
    "DriverQueue",
    "FrontEndMemory",
    "GuestMemory",
    "InFlightLog",
    "Interrupt",
    "QueueConfig",
    "Recorder",
    "RingState",
    "judged_rules",
    "spec_constants",
]
