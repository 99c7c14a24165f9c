"""What the host knows of a device: the seam between host.py and every device model.

A device model sees guest memory, its interrupt and nothing else. Whoever implements `Device` is
served by the one host: registers, doorbells, interrupts, attachment, metrics, health.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import IntFlag

    from virtmesh_native import GuestMemory, Interrupt

    from virtmesh.mmio.inflight_logs import InFlightLogs
    from virtmesh.mmio.register_file import RegisterFile
    from virtmesh_common.registers import Register


RESET_SECONDS = 1.0
"""How long a caller waits for a reset: for a read or write that is stuck in the storage."""


@dataclass(frozen=True)
class Description:
    """What a device is; it never changes while the service runs (DescribeResponse)."""

    name: str
    kind: str
    compatible: str
    mmio_size_bytes: int
    virtio_device_id: int = 0
    reg_shift: int = 0
    """Registers are `1 << reg_shift` bytes apart, of a device where that can be chosen."""
    properties: Mapping[str, int] = field(default_factory=dict)
    """What a driver has to know beside the registers, by the names of device tree properties."""
    queue_size_max: Sequence[int] = ()
    kept_state_bytes: int = 0
    """What it keeps in memory of its driver, behind the in-flight logs."""
    registers: Sequence[Register] = ()
    """The window as this device has it; of a virtio device its configuration space."""
    family: type[IntFlag] | None = None
    """The feature bits of this kind of virtio device."""
    identity: Mapping[str, str] = field(default_factory=dict)
    """What a driver reads through selectors of the configuration space (DescribeResponse)."""


@dataclass(frozen=True)
class QueueEventfds:
    """The eventfds of one queue: the driver signals kick, the device signals call."""

    kick: int
    call: int


@dataclass(frozen=True)
class Attachment:
    """What a driver brings: its name, guest memory, and doorbells by queue (perhaps none)."""

    driver_name: str
    memory: GuestMemory
    doorbells: Mapping[int, QueueEventfds] = field(default_factory=dict)
    config_call: int | None = None
    inflight_logs: InFlightLogs | None = None
    """Where queues resume, and record what they take."""
    config_changed: bool = False
    """The driver is to be told of a configuration change when it is live."""


@dataclass(frozen=True)
class Execution:
    """A request that a device has begun and not ended."""

    request: str
    """What it is, for people."""
    seconds: float
    """Since when."""
    held: str = ""
    """Why it is held, to be tried again: what the storage answered; empty while that has it."""

    def __str__(self) -> str:
        held = f", held after {self.held}" if self.held else ""
        return f"{self.request}, begun {self.seconds:.1f} s ago{held}"


@dataclass(frozen=True)
class DeviceState:
    """The state of a device, as GetStatus reports it."""

    device_status: int = 0
    device_status_names: Sequence[str] = ()
    driver_features: int = 0
    device_features: int = 0
    fault: str = ""
    executing: Execution | None = None
    """The request that is executed longest."""


@dataclass(frozen=True)
class DeviceCounters:
    """Counters that every device has, since it was made (the host adds its own)."""

    notifications_eventfd: int = 0
    notifications_mmio: int = 0
    requests: int = 0
    resets: int = 0


class Device(Protocol):
    """A device with registers. All methods run on the event loop's thread and do not wait.

    Reads and writes raise the RegisterError classes of virtmesh_common.errors.
    """

    @property
    def description(self) -> Description:
        """What the device is."""

    @property
    def model(self) -> object:
        """The model: what the services and metrics of its kind look at."""

    @property
    def register_files(self) -> Sequence[RegisterFile]:
        """The register files of its window: they count accesses."""

    @property
    def interrupt(self) -> Interrupt:
        """The interrupt line."""

    @property
    def state(self) -> DeviceState:
        """The state now."""

    @property
    def counters(self) -> DeviceCounters:
        """The counters now."""

    def read(self, offset: int, width: int) -> int:
        """Read a register: offset and width in bytes."""

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""

    def notify(self, queue: int) -> None:
        """Ring a queue (the Notify RPC). Errors: NoSuchQueue."""

    def attach(self, attachment: Attachment) -> None:
        """Take a driver's memory and doorbells. Errors: BadDoorbell."""

    def begin_reset(self) -> None:
        """Begin a reset: no more requests are taken, and those that were not begun are dropped.

        Reads and writes that were begun finish, and flushes are not waited for.
        """

    @property
    def settling(self) -> bool:
        """True while a reset, or the stop of a queue, has begun and is not complete."""

    @property
    def stuck(self) -> str:
        """The request that a reset waits for, in words; empty without one."""

    async def reset_done(self, seconds: float = RESET_SECONDS) -> bool:
        """Wait until the device is not `settling`, at most that long. Returns whether it is not."""

    def detach(self) -> None:
        """Forget the driver's memory and doorbells; the device is reset by then."""

    def close(self) -> None:
        """Release everything; the device is reset and detached by then. May wait."""


@runtime_checkable
class BurstDevice(Protocol):
    """A device with registers that stand for many values: a FIFO behind one offset.

    A run of equal accesses to such a register may be done in one piece (what a CPU does with
    `rep insb`), with the effects of single accesses. A device does the first of them so, as many
    as it can, perhaps none; whoever has asked does the rest one by one. Neither method raises.
    """

    def read_run(self, offset: int, width: int, count: int) -> Sequence[int]:
        """Read a register at most `count` times; return what was read."""

    def write_run(self, offset: int, width: int, values: Sequence[int]) -> int:
        """Write values to a register, one after the other; return how many were written."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A read that lets a batch go on while its value, ANDed with `mask`, is `expected`."""

    offset: int
    width: int
    mask: int
    expected: int


@dataclass(frozen=True, slots=True)
class Cycles:
    """The beginning of a batch: `times` the same guards, each time before `length` equal accesses.

    So a driver empties a FIFO that is filled again, or fills one that is emptied.
    """

    guards: tuple[Guard, ...]
    offset: int
    width: int
    length: int
    times: int
    writes: Sequence[int] | None
    """The values of all writes in order; None where the equal accesses are reads."""


@runtime_checkable
class CycleDevice(BurstDevice, Protocol):
    """A BurstDevice that can do several such cycles in one piece."""

    def run_cycles(self, cycles: Cycles) -> Sequence[int]:
        """Execute the first of these cycles, with the effects of single accesses; does not raise.

        It executes as many whole ones as it can in one piece, perhaps none, and each of their
        guards is met. Returns a value for each access: what was read, or 0 for a write.
        """
