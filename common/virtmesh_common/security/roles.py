"""Roles, and the one table of who may call which RPC: docs and enforcement come from it.

What is not in the table is for the owner alone. Kinds of devices from other packages state rows of
their own, in DeviceKind.access.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


class Role(StrEnum):
    """What a caller is to the machine. Each caller has one."""

    OBSERVER = "observer"
    """Reads states, counters, reports, traces and screens."""
    INJECTOR = "injector"
    """Uses the machine as a person before it does: keys, pointers, serial ports, the screen."""
    OPERATOR = "operator"
    """Runs the machine: disks, the CPU, guests, administration and resets; injects as well."""
    DRIVER = "driver"
    """Drives devices as a kernel does: attaches, accesses registers, rings, takes interrupts."""
    OWNER = "owner"
    """May call everything."""


EVERYONE = frozenset(Role)
USERS = frozenset((Role.INJECTOR, Role.OPERATOR, Role.OWNER))
OPERATORS = frozenset((Role.OPERATOR, Role.OWNER))
DRIVERS = frozenset((Role.DRIVER, Role.OWNER))
EITHER = OPERATORS | DRIVERS
OWNERS = frozenset((Role.OWNER,))


@dataclass(frozen=True, slots=True)
class Access:
    """One row: who may call a method, and whether it changes something (then it is audited)."""

    method: str
    """Full name, such as /virtmesh.kernel.v1.KernelService/ListDevices."""
    roles: frozenset[Role]
    changes: bool = False
    touches: str = ""
    """What the audit says it touches, when that is no device."""


def reads(service: str, roles: frozenset[Role], *methods: str) -> Iterator[Access]:
    """Make rows of methods that change nothing. `service` is its full name."""
    return (Access(f"/{service}/{method}", roles) for method in methods)


def changes(
    service: str, roles: frozenset[Role], *methods: str, touches: str = ""
) -> Iterator[Access]:
    """Make rows of methods that change something."""
    return (
        Access(f"/{service}/{method}", roles, changes=True, touches=touches) for method in methods
    )


DEVICE = "virtmesh.device.v1.DeviceService"
REGISTER = "virtmesh.register.v1.RegisterService"
DOORBELL = "virtmesh.doorbell.v1.DoorbellService"
INTERRUPT = "virtmesh.interrupt.v1.InterruptService"
TRACE = "virtmesh.trace.v1.TraceService"
METRICS = "virtmesh.metrics.v1.MetricsService"
FAULT = "virtmesh.fault.v1.FaultService"
INPUT = "virtmesh.input.v1.InputService"
UART = "virtmesh.uart.v1.UartService"
DISPLAY = "virtmesh.display.v1.DisplayService"
BLOCK_ADMIN = "virtmesh.block.v1.BlockAdminService"
KERNEL = "virtmesh.kernel.v1.KernelService"
BLOCK_DEVICE = "virtmesh.kernel.v1.BlockDeviceService"
INPUT_DEVICE = "virtmesh.kernel.v1.InputDeviceService"
GUEST = "virtmesh.kernel.v1.GuestService"
CPU = "virtmesh.cpu.v1.CpuService"
HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

ROWS: tuple[Access, ...] = (
    # Every device service
    *reads(DEVICE, EVERYONE, "Describe", "DescribeInterface", "GetStatus", "GetStats", "GetReport"),
    *changes(DEVICE, DRIVERS, "Attach", "Detach"),
    *changes(DEVICE, EITHER, "Reset", "ClearReport"),
    # To read a register may change it: a received byte is gone then.
    *changes(REGISTER, DRIVERS, "Read", "Write", "Access"),
    *changes(DOORBELL, DRIVERS, "Notify"),
    *reads(INTERRUPT, DRIVERS, "Watch"),
    *reads(TRACE, EVERYONE, "Read", "Watch"),
    *reads(METRICS, EVERYONE, "Collect", "GetPage"),
    *reads(FAULT, EVERYONE, "List"),
    *changes(FAULT, OPERATORS, "Add", "Clear"),
    # What a person does to a device
    *reads(INPUT, EVERYONE, "GetInfo", "WatchOutput", "GetStats"),
    *changes(INPUT, USERS, "Inject", "Type", "Key", "Click", "Move", "ReleaseAll"),
    *reads(UART, EVERYONE, "GetInfo", "GetStats"),
    *changes(UART, USERS, "Open", "Write", "SetLines"),
    *reads(DISPLAY, EVERYONE, "Describe", "Screenshot", "Watch", "GetStats"),
    *changes(DISPLAY, USERS, "SetMode"),
    *reads(BLOCK_ADMIN, EVERYONE, "GetInfo", "ListFailures", "GetStats"),
    *changes(BLOCK_ADMIN, OPERATORS, "Resize", "Flush", "SetReadOnly", "Resume", "Mark"),
    # The machine
    *reads(KERNEL, EVERYONE, "ListDevices", "ListNodes"),
    *changes(KERNEL, OPERATORS, "ResetDevice", "DetachDevice", "AttachDevice"),
    *changes(KERNEL, OPERATORS, "RestartDevice"),
    *reads(BLOCK_DEVICE, EVERYONE, "Identify"),
    *reads(BLOCK_DEVICE, OPERATORS, "Read", "Export"),
    *changes(BLOCK_DEVICE, OPERATORS, "Write", "Import", "Flush", "Discard", "WriteZeroes"),
    # Keys that others type may be passwords.
    *reads(INPUT_DEVICE, USERS, "Watch"),
    *changes(INPUT_DEVICE, OPERATORS, "SetLed"),
    *reads(GUEST, EVERYONE, "ListGuests", "GetGuest"),
    *changes(GUEST, OPERATORS, "AttachGuest", "ResetGuest", "StopGuest"),
    *reads(CPU, EVERYONE, "Watch", "WatchLines", "GetStats", "GetReport"),
    # Registers and memory hold the guest's secrets.
    *reads(CPU, OPERATORS, "Registers", "ReadMemory"),
    *changes(CPU, OPERATORS, "Start", "Stop", "Step", "Reset", touches="cpu"),
    *changes(CPU, OPERATORS, "SetRegisters", "WriteMemory", "SetBreakpoints", touches="cpu"),
    # What every service has
    *reads(HEALTH, EVERYONE, "Check", "List", "Watch"),
    *(row for one in REFLECTIONS for row in reads(one, EVERYONE, "ServerReflectionInfo")),
)
"""The rows. Nobody calls anything without an identity."""

TABLE: Mapping[str, Access] = MappingProxyType({row.method: row for row in ROWS})
"""The rows by full method name."""


def table_with(rows: Iterable[Access]) -> Mapping[str, Access]:
    """Return the table with rows of other packages. They can't change a row that is there."""
    return MappingProxyType({row.method: row for row in rows} | dict(TABLE))


def find_access(method: str, table: Mapping[str, Access] = TABLE) -> Access:
    """Return the row of a method; one that has none is for the owner, and counts as a change."""
    return table.get(method) or Access(method, OWNERS, changes=True)
