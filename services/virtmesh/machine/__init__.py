"""The machine: which devices it has, where they are, and how the kernel drives them.

A machine file is TOML; docs/machine.md describes it. Paths among the options of a device are
relative to the machine file, unix sockets to the run folder, so `load` resolves the first and
`Machine.resolve` the second.
"""

from virtmesh.attach.notifier import DoorbellKind
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.machine.board import SLOTS
from virtmesh.machine.file import load, parse
from virtmesh.machine.model import (
    CpuEntry,
    DeviceEntry,
    KernelEntry,
    Machine,
    OptionValue,
    PlicRule,
    SecurityEntry,
    TimeSource,
    WatchdogPolicy,
)
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.names import NAME_PATTERN
from virtmesh_common.sizes import check_memory, parse_size

__all__ = [
    "NAME_PATTERN",
    "RAM_ADDRESS",
    "SLOTS",
    "CpuEntry",
    "DeviceEntry",
    "DoorbellKind",
    "InterruptMode",
    "KernelEntry",
    "Machine",
    "OptionValue",
    "PlicRule",
    "SecurityEntry",
    "TimeSource",
    "WatchdogPolicy",
    "check_memory",
    "load",
    "parse",
    "parse_size",
]
