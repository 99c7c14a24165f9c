"""What a machine is: its devices, where they are, and how the kernel drives them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh.attach.notifier import DoorbellKind
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.machine.board import platform_of
from virtmesh.rpc.locks import Locks
from virtmesh_common.channel import check_address
from virtmesh_common.errors import BadMachine
from virtmesh_common.limits import DEFAULTS, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh.kinds.record import Place, Platform
    from virtmesh.rpc.locks import Listener

OptionValue = str | int | bool


class WatchdogPolicy(StrEnum):
    """What a supervisor does with a service that does not answer."""

    REPORT = "report"
    RESTART = "restart"


@dataclass(frozen=True)
class KernelEntry:
    """The `[kernel]` table: the addresses of the kernel service and of its /metrics page."""

    listen: tuple[str, ...] = ("unix:kernel.sock",)
    metrics: str | None = None
    listen_tokens: tuple[str, ...] = ()
    """HOST:PORT for clients with bearer tokens."""
    listen_roles: tuple[Listener, ...] = ()
    """More unix sockets, each for a role."""
    watchdog: WatchdogPolicy = WatchdogPolicy.REPORT


@dataclass(frozen=True)
class SecurityEntry:
    """The `[security]` table: who may call over TCP."""

    folder: str | None = None
    """Path of the security folder, relative to the machine file."""
    insecure: bool = False
    """Let anyone do everything who reaches a TCP address without TLS."""


class TimeSource(StrEnum):
    """What the clock of a guest follows."""

    REAL = "real"
    """The clock of this host."""
    INSTRUCTIONS = "instructions"
    """The instructions that the CPU executes, and real time only while it sleeps."""


class PlicRule(StrEnum):
    """How the interrupt controller takes the lines of devices."""

    SPEC = "spec"
    """By level, as the PLIC specification says."""
    QEMU = "qemu"
    """As QEMU's does: a line that rises is pending until it is claimed."""


@dataclass(frozen=True)
class CpuEntry:
    """The `[cpu]` table: what a CPU runs on the devices, in place of the kernel service."""

    kernel: str | None = None
    """Path of an ELF file, a Linux image or a raw image."""
    firmware: str | None = None
    initrd: str | None = None
    append: str = ""
    """The kernel command line."""
    time: TimeSource = TimeSource.REAL
    plic: PlicRule = PlicRule.SPEC
    quirks: Mapping[str, str] = field(default_factory=dict)
    """What is put between the guest and a device, by its name: "lenient" or "legacy"."""
    serial_8n1: bool = False
    """Set serial ports to 8N1 before the guest runs, as a boot ROM does."""
    halted: bool = False
    """Wait for Start before the first instruction."""
    trace: str | None = None
    """Path of a file for each register access, with the place in the guest's code."""
    gdb: str | None = None
    """HOST:PORT where debuggers attach."""


@dataclass(frozen=True)
class DeviceEntry:
    """One `[[devices]]` table. `slot` is its place among those of its platform, from 0."""

    name: str
    kind: str
    endpoint: str
    slot: int
    handover: str | None = None
    metrics: str | None = None
    vhost_user: str | None = None
    """Socket that takes the front ends of guests; the kernel leaves such a device to them."""
    watchdog: WatchdogPolicy = WatchdogPolicy.REPORT
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    node_address: int | None = None
    """Address of its node, on a machine that has a device tree of its own."""
    own_place: Place | None = None
    """Where it is, if the machine file gives it another place than that of its slot."""

    @property
    def platform(self) -> Platform:
        """How it is found. Errors: BadMachine for a kind that is not there."""
        return platform_of(self.kind)

    @property
    def place(self) -> Place:
        """Where it is on the board."""
        return self.own_place or self.platform.places[self.slot]

    @property
    def address(self) -> int:
        """Guest physical address of the register window."""
        return self.place.address if self.node_address is None else self.node_address

    @property
    def irq(self) -> int:
        """Interrupt number."""
        return self.place.irq

    def properties(self) -> dict[str, int]:
        """Return what its node tells the driver. Errors: ValueError for what is no number."""
        return {
            name: _cell(one.option, self.options.get(one.option, one.default))
            for name, one in self.platform.properties.items()
        }

    def arguments(self) -> list[str]:
        """Return the arguments of `virtmesh-device` that start this device."""
        arguments = [self.kind, "--name", self.name, "--listen", self.endpoint]
        places = {
            "handover": self.handover,
            "metrics": self.metrics,
            "vhost-user": self.vhost_user,
        }
        for key, value in places.items():
            if value is not None:
                arguments += [f"--{key}", value]
        return [*arguments, *self.option_arguments()]

    def option_arguments(self) -> list[str]:
        """Return those of them that are options of the kind."""
        arguments: list[str] = []
        for key, option in self.options.items():
            if isinstance(option, bool):
                arguments += [f"--{key}"] if option else []
            else:
                arguments += [f"--{key}", str(option)]
        return arguments


@dataclass(frozen=True)
class Machine:
    """A whole machine. `memory` is the RAM of each device's driver, or of the CPU, in bytes.

    `device_tree` is the path of a flattened device tree, if the machine is another than the board:
    devices are then bound to its nodes.
    """

    name: str = "virtmesh"
    memory: int = 64 << 20
    doorbell: DoorbellKind = DoorbellKind.EVENTFD
    interrupts: InterruptMode = InterruptMode.INTERRUPT
    kernel: KernelEntry = field(default_factory=KernelEntry)
    devices: tuple[DeviceEntry, ...] = ()
    cpu: CpuEntry | None = None
    """What a CPU runs; None: the kernel service drives the devices."""
    device_tree: str | None = None
    limits: Limits = DEFAULTS
    """What clients may have of each of its services."""
    security: SecurityEntry = field(default_factory=SecurityEntry)

    @property
    def locks(self) -> Locks:
        """What protects the addresses of its kernel, or CPU."""
        folder = self.security.folder
        return Locks(
            None if folder is None else Path(folder),
            self.kernel.listen_tokens,
            self.kernel.listen_roles,
            insecure=self.security.insecure,
            of_file=True,
        )

    def resolve(self, run_dir: Path) -> Machine:
        """Return the machine with its unix sockets placed in `run_dir`. Errors: BadMachine."""
        place = _Placer(run_dir)
        listen = tuple(place.address(one, "kernel.listen") for one in self.kernel.listen)
        devices = tuple(
            replace(
                device,
                endpoint=place.address(device.endpoint, f"devices.{device.name}.endpoint"),
                handover=place.path(device.handover),
                vhost_user=place.path(device.vhost_user),
                metrics=place.optional(device.metrics, f"devices.{device.name}.metrics"),
            )
            for device in self.devices
        )
        roles = tuple(
            replace(one, address=place.address(one.address, "kernel.listen-roles"))
            for one in self.kernel.listen_roles
        )
        metrics = place.optional(self.kernel.metrics, "kernel.metrics")
        kernel = replace(self.kernel, listen=listen, listen_roles=roles, metrics=metrics)
        return replace(self, kernel=kernel, devices=devices)


def _cell(option: str, value: OptionValue) -> int:
    """Return the value of an option as a cell of the device tree."""
    try:
        number = -1 if isinstance(value, bool) else int(str(value), 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise ValueError(f"{option} is {value!r}: write a number below 2^32")
    return number


class _Placer:
    """Places unix sockets in the run folder."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()

    def address(self, address: str, key: str) -> str:
        """Make the path of a unix address absolute."""
        if not address.startswith("unix:"):
            return address
        placed = self.path(address.removeprefix("unix:").removeprefix("//"))
        try:
            return check_address(f"unix:{placed}")
        except ValueError as error:
            raise BadMachine(f"{key}: {error}") from error

    def optional(self, address: str | None, key: str) -> str | None:
        """Make the path of a unix address absolute, if there is an address."""
        return None if address is None else self.address(address, key)

    def path(self, path: str | None) -> str | None:
        """Make a path absolute."""
        return None if path is None else str(self._run_dir / path)
