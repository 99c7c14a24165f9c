"""One device of the machine, as the kernel has it: which node, in which state, driven by whom."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog
from virtmesh_native import Recorder

from virtmesh.telemetry.definitions import Histogram
from virtmesh.telemetry.recorder import Traced
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import DeviceNotFound, NotOffered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import NoReturn

    from virtmesh.drivers.base import Driver
    from virtmesh.kernel.boot_log import BootLog
    from virtmesh.kernel.tree import DeviceNode, FoundMachine
    from virtmesh_common.api.device.v1 import device_pb2

log = structlog.get_logger(__name__)


class ProbeState(Enum):
    """How far the kernel is with a device (virtmesh.kernel.v1.ProbeState)."""

    WAITING = 1
    PROBING = 2
    READY = 3
    FAILED = 4
    RESERVED = 5
    DETACHED = 7


OUTAGE_BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Bounds of the durations of outages, in seconds."""
LOOK_TIMEOUT_S = 1.0
"""How long a device service may take to say how it is."""
WATCH_S = 1.0
"""Between two looks at a device that has done something since the last one."""
IDLE_LOOKS, IDLE_LOOKS_MAX = 5, 10
"""A device that has done nothing is looked at in one of so many cases, then in one of twice as
many, and so on up to the second: who asks for a list has it looked at in any case."""
SLOW_S = 2.0
"""A request that is executed for longer is told of: it waits for the storage."""
PAUSES_S = {ProbeState.WAITING: (0.02, 2.0), ProbeState.FAILED: (1.0, 30.0)}
"""First and longest pause before the next attempt, by the state of waiting."""
GROWTH = {ProbeState.WAITING: 1.25, ProbeState.FAILED: 2.0}
"""By how much a pause is longer than the last. What is awaited is found late by no more than this
part of the time that it took; a service that starts again takes a tenth of a second."""


def next_pause(state: ProbeState, pause: float, *, afresh: bool) -> float:
    """Return the pause in seconds before the next attempt, after one of `pause`.

    It grows from attempt to attempt; `afresh`: what went before is no reason to wait long.
    """
    first, longest = PAUSES_S.get(state, PAUSES_S[ProbeState.WAITING])
    growth = GROWTH.get(state, GROWTH[ProbeState.WAITING])
    return first if afresh else min(max(growth * pause, first), longest)


class MachineDevice(ABC):
    """What every device of the machine has.

    `recorder` keeps the last `events` of the dialogue with its driver. `driver` is that of this
    kernel, while it uses the device.
    """

    def __init__(self, node: DeviceNode, boot_log: BootLog, events: int) -> None:
        self.node = node
        self.state = ProbeState.WAITING
        self.detail = "not tried yet"
        self.device_id = 0
        """Virtio device ID; 0 for what is no virtio device, or is not known yet."""
        self.kind = ""
        """Name of its kind, as its service says it."""
        self.vhost_user_socket = ""
        """Path of the socket for guests, of a device that is reserved for them."""
        self.silent = False
        """True if its service did not answer at the last look, although it is in use."""
        self._heard = datetime.now(UTC)
        """When it answered last."""
        self._executing: device_pb2.Execution | None = None
        """The request that it had been executing for longest, at the last look."""
        self._looked_at = (0, 0)
        """Its requests and interrupts at the last look that was due."""
        self._turns = 0
        """Turns since that look."""
        self._rest = IDLE_LOOKS
        """Turns after which it is looked at although it does nothing."""
        self._looks = 0
        """Looks that were begun."""
        self._newest_look = 0
        """The number of the last one begun of those that have ended."""
        self.driver: Driver | None = None
        self.attaches = 0
        """Times that this kernel attached to it."""
        self.orders = 0
        """Times that somebody had it reset or detached."""
        self.resubmitted = 0
        """Requests that began again after a loss of it."""
        self.outages = Histogram(OUTAGE_BOUNDS)
        """Seconds from a loss of it to its next use."""
        self.recorder = Recorder(events)
        self._boot_log = boot_log
        self._changed = asyncio.Event()

    @property
    @abstractmethod
    def driver_name(self) -> str:
        """Who drives it; empty: nobody."""

    @property
    @abstractmethod
    def features(self) -> Sequence[str]:
        """Names of the features in use, ascending by bit."""

    @property
    @abstractmethod
    def doorbell(self) -> str:
        """How its queues are rung; empty for a device that has none."""

    @property
    @abstractmethod
    def requests(self) -> int:
        """Requests completed."""

    @property
    @abstractmethod
    def interrupts(self) -> int:
        """Interrupts that it has raised."""

    @abstractmethod
    def ready_driver(self) -> Driver:
        """Return the driver of a device that is in use. Errors: DeviceNotReady."""

    @property
    def comes_back(self) -> bool:
        """Whether it may be in use soon, without anyone's help."""
        return False

    @property
    def news(self) -> str:
        """Why it is not in use, does not answer, or is slow; empty when all is well."""
        if self.silent:
            since = self._heard.isoformat(timespec="seconds")
            return (
                f"does not answer within {LOOK_TIMEOUT_S:g} s, since {since}: its service is"
                " stopped or busy"
            )
        busy = self._executing
        if busy is None or (not busy.held and busy.age_us < SLOW_S * 1e6):
            return self.detail
        request = f"{busy.request}, begun {busy.age_us / 1e6:.1f} s ago"
        if busy.held:
            return f"holds {request}, and tries it again: its storage answered {busy.held}"
        return f"executes {request}: its storage does not answer, or a fault on demand holds it"

    def _note_look(self, status: device_pb2.GetStatusResponse | None, *, in_use: bool) -> None:
        """Take what its service said of itself; None: nothing."""
        self.silent = in_use and status is None
        if status is not None:
            self._heard = datetime.now(UTC)
        executing = status is not None and status.HasField("executing")
        self._executing = status.executing if status is not None and executing else None

    def takes_turn(self) -> bool:
        """Say, once each WATCH_S, whether to look now: an idle device is left alone for longer."""
        counted = (self.requests, self.interrupts)
        self._turns += 1
        is_idle = self._turns >= self._rest
        is_due = self.silent or self._executing is not None or counted != self._looked_at or is_idle
        if is_due:
            self._rest = min(2 * self._rest, IDLE_LOOKS_MAX) if is_idle else IDLE_LOOKS
            self._looked_at, self._turns = counted, 0
        return is_due

    async def changed(self) -> None:
        """Wait until its state is another one."""
        self._changed.clear()
        await self._changed.wait()

    async def look(self) -> None:
        """Refresh what this kernel does not hear by itself.

        Looks overlap, and answers come late: one that is older than what is known is left out.
        """
        self._looks += 1
        number = self._looks
        take = await self._ask()
        if number > self._newest_look:
            self._newest_look = number
            take()

    @abstractmethod
    async def _ask(self) -> Callable[[], None]:
        """Ask its service how it is. Returns what takes the answer over."""

    @abstractmethod
    async def run(self) -> None:
        """Keep the device up, or watch it. Cancelling this gives the device back."""

    async def reset(self) -> None:
        """Give the device back and bring it up anew. Errors: NotOffered."""
        self._not_ours()

    async def detach(self) -> None:
        """Give the device back, until it is attached again. Errors: NotOffered."""
        self._not_ours()

    async def attach(self) -> None:
        """Bring a device up that was detached. Errors: NotOffered."""
        self._not_ours()

    def _not_ours(self) -> NoReturn:
        """Refuse what only whoever drives the device can do. Errors: NotOffered."""
        raise NotOffered(
            f"a guest drives {self.node.name}: reset it in the guest, or reset the guest"
        )

    @property
    def traced(self) -> Traced:
        """The driver's side of the device's dialogue."""
        return Traced(
            recorder=self.recorder,
            side=trace_pb2.SIDE_DRIVER,
            device=self.node.name,
            kind=self.kind,
            compatible=self.node.compatible[0] if self.node.compatible else "",
            virtio_device_id=self.device_id,
            reg_shift=self.node.properties.get("reg-shift", 0),
        )

    async def until(self, *states: ProbeState, detail: str = "") -> None:
        """Wait until the device is in one of the states, with a detail that has these words."""
        while self.state not in states or detail not in self.detail:
            self._changed.clear()
            await self._changed.wait()

    async def next_driver(self, last: Driver | None) -> Driver:
        """Wait until the device is in use by another driver than the last one."""
        while self.state is not ProbeState.READY or self.driver in (None, last):
            self._changed.clear()
            await self._changed.wait()
        return self.ready_driver()

    def _move(self, state: ProbeState, detail: str) -> None:
        """Change the state, and say so."""
        if (state, detail) == (self.state, self.detail):
            return
        self.state, self.detail = state, detail
        self._boot_log.add(f"{self.node.name}: {state.name.lower()}{': ' * bool(detail)}{detail}")
        log.info("device", device=self.node.name, state=state.name, detail=detail)
        self._changed.set()


SILENT = "SILENT"
STATES = (*(one.name for one in ProbeState), SILENT)
"""What can be shown of a device."""


def shown_state(device: MachineDevice) -> str:
    """Return what is shown of a device: its state, or that it is silent."""
    return SILENT if device.silent else device.state.name


async def watch(devices: Collection[MachineDevice]) -> None:
    """Look at devices until cancelled, so that who does not answer is known before anybody asks."""
    while True:
        await asyncio.sleep(WATCH_S)
        due = [device.look() for device in devices if device.takes_turn()]
        for outcome in await asyncio.gather(*due, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.error("a look at a device failed", exc_info=outcome)


Found = TypeVar("Found", bound=MachineDevice)


def find_device(devices: Mapping[str, Found], name: str, machine: str) -> Found:
    """Return a device of the machine that is called so. Errors: DeviceNotFound."""
    found = devices.get(name)
    if found is None:
        known = ", ".join(devices) or "none at all"
        raise DeviceNotFound(f"{machine} has no device {name!r}: it has {known}")
    return found


class DevicesOfMachine(Protocol):
    """What has devices: this kernel, or a CPU that runs somebody else's."""

    @property
    def machine(self) -> FoundMachine:
        """What its device tree says."""

    @property
    def devices(self) -> Mapping[str, MachineDevice]:
        """The devices by name, ascending by address."""

    def device(self, name: str) -> MachineDevice:
        """Return a device. Errors: DeviceNotFound."""
