"""Bringing a device up, keeping it up, and bringing it up again when it comes back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

import structlog

from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import PAGE, Ram
from virtmesh.kernel.device import LOOK_TIMEOUT_S, MachineDevice, ProbeState, next_pause
from virtmesh.kinds import broken_kinds, kind_of
from virtmesh.virtio.mmio_driver import VirtIOHeader
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import (
    DeviceAttached,
    DeviceLost,
    DeviceNotReady,
    DriverError,
    MemoryMissing,
    ResetUnderWay,
    ServiceUnavailable,
    ShuttingDown,
    VirtmeshError,
)
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio.mmio import COMPATIBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.base import Driver
    from virtmesh.drivers.settings import Settings
    from virtmesh.kernel.boot_log import BootLog
    from virtmesh.kernel.irq import IrqController
    from virtmesh.kernel.tree import DeviceNode, FoundMachine

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_S = 30.0
"""Longest time for initialising a device."""
DRIVER_NAME = "virtmesh-kernel"
"""What the holder of a device is called, after the name of the machine."""

COMES_BACK = (
    DeviceLost,
    ServiceUnavailable,
    DeviceAttached,
    ResetUnderWay,
    ShuttingDown,
    MemoryMissing,
)
"""Errors that mend themselves when the device service, or its other driver, has moved on."""


class Orders:
    """What somebody wants of a device."""

    def __init__(self) -> None:
        self.stay_away = False
        """The kernel is to leave the device alone."""
        self.error: DeviceLost | None = None
        """What the driver failed with that the last order ended."""
        self._given = asyncio.Event()

    def give(self, *, stay_away: bool) -> None:
        """Give an order, and end a pause."""
        self.stay_away = stay_away
        self._given.set()

    async def next(self) -> None:
        """Wait for an order."""
        await self._given.wait()
        self._given.clear()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until there is an order."""
        with suppress(TimeoutError):
            async with time_limit(seconds):
                await self._given.wait()
        self._given.clear()


class ProbedDevice(MachineDevice):
    """One device of the machine. `run` never ends by itself; cancelling it gives the device back.

    `driver` is there from the end of the probe until the device fails or is lost.
    """

    def __init__(
        self,
        node: DeviceNode,
        *,
        machine: FoundMachine,
        settings: Settings,
        irq: IrqController,
        boot_log: BootLog,
    ) -> None:
        super().__init__(node, boot_log, settings.recorder)
        self._machine = machine.name
        self._ram_size = settings.memory or machine.ram_size
        self._settings = settings
        self._irq = irq
        self._requests_before = 0
        self._was_ready = False
        self._stuck = False
        """A request that its storage does not answer keeps it from being reset."""
        self._bus: GrpcBus | None = None
        self._is_taken = False
        """Another driver has it."""
        self._lost_at: float | None = None
        """When it was lost, by the monotonic clock; None: it is in use, or somebody has it away."""
        self._kept: tuple[type[Driver], object] | None = None
        """What the last driver left for the next one of its class; None once that one has it."""
        self._orders = Orders()

    @property
    def requests(self) -> int:
        """Requests completed since the kernel started."""
        return self._requests_before + (self.driver.requests if self.driver else 0)

    @property
    def interrupts(self) -> int:
        """Interrupts handled since the kernel started."""
        return self._irq.line(self.node.irq).handled

    @property
    def features(self) -> Sequence[str]:
        """Names of the negotiated features, ascending by bit; none before the end of the probe."""
        return self.driver.features if self.driver else ()

    @property
    def driver_name(self) -> str:
        """Name of its driver; empty before the end of the probe."""
        return type(self.driver).__name__ if self.driver else ""

    @property
    def doorbell(self) -> str:
        """How its queues are rung; empty for a device that has none."""
        return self._settings.doorbell.value if self._is_virtio else ""

    @property
    def _is_virtio(self) -> bool:
        """Whether a virtio header says what it is."""
        return COMPATIBLE in self.node.compatible

    @property
    def comes_back(self) -> bool:
        """Whether it is being brought up, or waited for. Another driver may keep it for good."""
        moving = self.state in {ProbeState.WAITING, ProbeState.PROBING} or (
            self.state is ProbeState.FAILED and self._was_ready  # it is about to be tried again
        )
        lost = self.driver is not None and self.driver.failed.done()  # in this moment
        return not (self._orders.stay_away or self._is_taken) and (moving or lost)

    def ready_driver(self) -> Driver:
        """Return the driver of a device that is in use. Errors: DeviceNotReady; DeviceLost."""
        if self.driver is None or self.state is not ProbeState.READY:
            raise DeviceNotReady(
                f"{self.node.name} is not ready: {self.detail or self.state.name.lower()}",
                state=self.state.name,
            )
        return self.driver

    async def _ask(self) -> Callable[[], None]:
        """Ask a device in use whether it answers. Of all else the kernel hears by itself."""
        bus = self._bus_in_use
        status = None if bus is None else await bus.status(LOOK_TIMEOUT_S)

        def take() -> None:
            # It may be lost, or attached anew, since it was asked.
            is_same = bus is not None and bus is self._bus_in_use
            self._note_look(status if is_same else None, in_use=is_same)

        return take

    @property
    def _bus_in_use(self) -> GrpcBus | None:
        return self._bus if self.state is ProbeState.READY else None

    async def run(self) -> None:
        """Bring the device up; when it is lost or fails, do so again, after a pause that grows."""
        pause, before = 0.0, ProbeState.WAITING
        while True:
            if self._orders.stay_away:
                self._move(ProbeState.DETACHED, "somebody had it detached: attach it again")
                await self._orders.next()
                continue
            try:
                await self._serve()
            except VirtmeshError as error:
                self._give_up(error)
            except OSError as error:
                self._move(ProbeState.FAILED, str(error))
            except Exception:
                log.exception("a fault of the kernel", device=self.node.name)
                self._move(ProbeState.FAILED, "a fault of the kernel; its log says more")
            afresh = self._was_ready or self.state is not before
            pause = next_pause(self.state, pause, afresh=afresh)
            before = self.state
            await self._orders.pause(pause)

    async def reset(self) -> None:
        """Give the device back, bring it up anew, and wait until that is done, or can't be."""
        self._order("reset", stay_away=False)
        self._stuck = False
        self._move(ProbeState.WAITING, "somebody had it reset")
        await self._settled()

    async def detach(self) -> None:
        """Give the device back, until it is attached again."""
        self._order("detached", stay_away=True)
        await self.until(ProbeState.DETACHED)

    async def attach(self) -> None:
        """Bring the device up, if it was detached, and wait until that is done, or can't be."""
        if self._orders.stay_away:
            self._orders.give(stay_away=False)
            self._stuck = False
        await self._settled()

    async def _settled(self) -> None:
        """Wait until the device is in use or has failed, or a request keeps it from both."""
        while not (self._stuck or self.state in {ProbeState.READY, ProbeState.FAILED}):
            self._changed.clear()
            await self._changed.wait()

    def _order(self, what: str, *, stay_away: bool) -> None:
        """End the driver, if there is one, since somebody wants it."""
        self.orders += 1
        self._orders.give(stay_away=stay_away)
        self._lost_at = None
        if self.driver is not None:
            self._orders.error = DeviceLost(f"somebody had {self.node.name} {what}")
            self.driver.fail(self._orders.error)

    async def _serve(self) -> NoReturn:
        """Attach, probe, and stay until the device is lost or fails: the error says which."""
        self._was_ready = False
        async with AsyncExitStack() as undo:
            # What has no queues never looks at memory: attaching hands over a page all the same.
            ram = undo.enter_context(Ram(self._ram_size if self._is_virtio else PAGE))
            driver_name = f"{self._machine} {DRIVER_NAME}"
            bus = await GrpcBus.connect(
                self.node.endpoint,
                ram=ram,
                driver_name=driver_name,
                doorbell=self._settings.doorbell,
                handover=self.node.handover,
            )
            undo.push_async_exit(partial(give_back, bus))
            bus.recorder, self.kind, self._bus = self.recorder, bus.kind, bus
            self.recorder.record(trace_pb2.EVENT_KIND_ATTACH, text=driver_name)
            undo.push(self._left)
            self.attaches += 1
            self._is_taken = False
            self._move(ProbeState.PROBING, "being initialised")
            driver = await self._probe(bus, undo)
            self._was_ready = True
            self._note_return()
            self._introduce(driver)
            self._move(ProbeState.READY, "")
            # Shielded: a kernel that stops cancels this task, not the driver's own future.
            if self._orders.stay_away:  # since while it was being initialised
                self._order("detached", stay_away=True)
            error = await asyncio.shield(driver.failed)
            if error is not self._orders.error:
                self.recorder.record(trace_pb2.EVENT_KIND_FAULT, text=error.message)
            if isinstance(error, DeviceLost) and error is not self._orders.error:
                self._lost_at = monotonic()
            # Before the device is given back, which takes its time: it is of no use from here on.
            self._give_up(error)
            raise error.again()

    async def _probe(self, bus: Bus, undo: AsyncExitStack) -> Driver:
        """Find the driver of an attached device and start it."""
        if bus.name != self.node.name:
            raise DriverError(
                f"the device at {self.node.endpoint} is {bus.name}, not {self.node.name}:"
                " mend its --name or the machine file"
            )
        try:
            async with time_limit(PROBE_TIMEOUT_S):
                driver = await self._find_driver(bus)
                self._irq.connect(self.node.irq, driver.handle_irq)
                undo.callback(self._irq.disconnect, self.node.irq)
                bus.on_interrupt(self._interrupted)
                undo.push_async_callback(self._retire, driver)
                self._hand_over(driver)
                await driver.start()
        except TimeoutError:
            raise ServiceUnavailable(
                f"{self.node.name} is not initialised after {PROBE_TIMEOUT_S:g} s"
            ) from None
        self.driver = driver
        return driver

    def _hand_over(self, driver: Driver) -> None:
        """Give a driver what the last one left: from now on it is its own, to use or to leave."""
        if self._kept is not None and type(driver) is self._kept[0]:
            kept, self._kept = self._kept[1], None
            driver.take_over(kept)

    def _interrupted(self, status: int) -> None:
        """Hand an interrupt to the controller."""
        self.recorder.record(trace_pb2.EVENT_KIND_IRQ, value=status)
        self._irq.dispatch(self.node.irq, status)

    def _left(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Note that the device is given back, and why."""
        self.recorder.record(trace_pb2.EVENT_KIND_DETACH, text=str(error) or None)

    async def _find_driver(self, bus: Bus) -> Driver:
        """Make the driver of an attached device. Errors: DriverError when there is none."""
        node = self.node
        what = " or ".join(node.compatible) or "a node without a compatible string"
        if self._is_virtio:
            self.device_id = (await VirtIOHeader(bus).probe()).device_id
            what = f"virtio device ID {self.device_id}"
        kind = kind_of(node.compatible, self.device_id)
        if kind is None or kind.driver is None:
            why = broken_kinds().get(bus.kind)
            raise DriverError(f"no driver for {what}{f': {why}' if why else ''}")
        try:
            return kind.driver.from_node(bus, node.properties, self._settings)
        except ValueError as error:
            raise DriverError(f"the properties of its node are wrong: {error}") from error

    async def _retire(self, driver: Driver) -> None:
        """Stop a driver; what it has done stays counted."""
        self.driver = None
        self._requests_before += driver.requests
        kept = driver.keep()
        if kept is not None:
            self._kept = type(driver), kept
        await driver.close()

    def _note_return(self) -> None:
        """Count the outage that has ended, if it was one: an order is none."""
        if self._lost_at is not None:
            self.outages.observe(monotonic() - self._lost_at)
            self._lost_at = None

    def _introduce(self, driver: Driver) -> None:
        """Say in the boot log what was found."""
        name = self.node.name
        kind = f"virtio device ID {self.device_id}, " if self._is_virtio else ""
        self._boot_log.add(f"{name}: {kind}driver {type(driver).__name__}")
        if driver.features:
            self._boot_log.add(f"{name}: features {' '.join(driver.features)}")
        if driver.queue_count:
            queues = "1 queue" if driver.queue_count == 1 else f"{driver.queue_count} queues"
            self._boot_log.add(f"{name}: {queues}, rung by {self.doorbell}")
        for fact in driver.facts:
            self._boot_log.add(f"{name}: {fact}")

    def _give_up(self, error: VirtmeshError) -> None:
        """Note that a device can't be used, and whether that mends itself."""
        comes_back = isinstance(error, COMES_BACK)
        self._stuck = isinstance(error, ResetUnderWay)
        self._is_taken = isinstance(error, DeviceAttached)
        self._move(ProbeState.WAITING if comes_back else ProbeState.FAILED, error.message)


async def give_back(
    bus: GrpcBus, kind: type[BaseException] | None, _error: object, _trace: object
) -> None:
    """Detach from a device whose use has ended. Errors: ResetUnderWay, unless it was cancelled."""
    await bus.close()
    if bus.stuck is not None and kind is not None and issubclass(kind, Exception):
        raise bus.stuck
