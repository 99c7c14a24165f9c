"""The machine around the CPU: RAM, the board, the devices in its slots, and the guest's life.

Invariant: a guest boots only while every device is attached and reset, and `_booting` is the one
task that brings it there. Controls (start, stop, step, reset) take `_turn`, one after the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from virtmesh_native import Board

from virtmesh.attach.guest_ram import Ram
from virtmesh.cpu.board import TIMEBASE_HZ
from virtmesh.cpu.engine import Ended, Engine
from virtmesh.cpu.guest_plan import GuestPlan, read_images
from virtmesh.cpu.memory_limit import check_memory_limit
from virtmesh.cpu.report import Reports
from virtmesh.cpu.slot_device import SlotDevice
from virtmesh.cpu.slots import add_slots, set_first
from virtmesh.cpu.status import CpuState, CpuStatus, StatusBoard, StopReason
from virtmesh.cpu.symbols import SymbolTable
from virtmesh.kernel.boot_log import BootLog
from virtmesh.kernel.device import ProbeState, find_device, watch
from virtmesh.kernel.tree import make_blob, parse_blob
from virtmesh_common import __version__
from virtmesh_common.cpu.errors import CpuRunning
from virtmesh_common.errors import (
    BadMachine,
    BadValue,
    DeviceNotReady,
    VirtmeshError,
)
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.time_limit import time_limit
from virtmesh_common.uart.spec import COMPATIBLE as NS16550A

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.drivers.base import Driver
    from virtmesh.machine import Machine
    from virtmesh.telemetry.recorder import Traced

log = structlog.get_logger(__name__)

DRIVER_NAME = "virtmesh-cpu"
"""What the holder of a device is called, after the name of the machine."""
READY_SECONDS = 5.0
"""How long a call waits for devices that are being attached."""
STEPS_MAX = 1_000_000
"""Most instructions of one Step."""
POINTS_MAX = 256
"""Most breakpoints, and most watchpoints."""


class CpuMachine:
    """A machine with a CPU. Errors: BadMachine, BadImage; OSError for RAM that can't be had."""

    def __init__(self, machine: Machine, plan: GuestPlan, events: int) -> None:
        left = [one.name for one in machine.devices if one.vhost_user is not None]
        if left:
            raise BadMachine(
                f"{', '.join(left)}: vhost-user = true leaves a device to other guests: take it"
                " out, the CPU drives every device"
            )
        check_memory_limit(machine.memory)
        self.boot_log = BootLog()
        self.machine = parse_blob(make_blob(machine))
        self.layout = read_images(machine, plan)
        self.symbols = SymbolTable(self.layout.symbols)
        self.status = StatusBoard()
        self.boots = 0
        self._plan = plan
        self._ram = Ram(machine.memory)
        board = Board(
            self._ram.descriptor,
            RAM_ADDRESS,
            machine.memory,
            plic_rule=plan.plic,
            timebase_hz=TIMEBASE_HZ,
            time=plan.time,
        )
        slots = add_slots(board, self.machine.devices, plan.quirks)
        self.engine = Engine(board, self._ended)
        self.devices = {
            node.name: SlotDevice(
                node,
                slots[node.address],
                self.engine,
                self._ram,
                f"{machine.name} {DRIVER_NAME}",
                self.boot_log,
                events,
                self._device_settled,
            )
            for node in self.machine.devices
        }
        for one in self.devices.values():  # Nothing uses the board yet.
            board.record_to(one.slot, one.recorder)
        self.reports = Reports(self.engine, self.symbols, self.devices)
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()
        self._points: dict[str, tuple[Sequence[int], Sequence[tuple[int, int, str]]]] = {}
        """Breakpoints and watchpoints, by who has set them."""
        self._booting: asyncio.Task[None] | None = None
        self.boot_log.add(f"virtmesh {__version__}, machine {self.machine.name}, a CPU of RV64GC")
        for piece in self.layout.pieces:
            self.boot_log.add(f"{piece.name}: {piece.address:#x} to {piece.end:#x}")

    def start(self) -> None:
        """Attach the devices, and boot the guest when all of them are there."""
        self._tasks = [
            asyncio.create_task(device.run(), name=name) for name, device in self.devices.items()
        ]
        self._tasks.append(asyncio.create_task(self.reports.run(), name="reports"))
        watching = watch(self.devices.values())
        self._tasks.append(asyncio.create_task(watching, name="watch"))
        self._begin_boot(run=not self._plan.halted)

    async def stop(self) -> None:
        """Stop the CPU, and give the devices back."""
        self.status.close()
        tasks = [*self._tasks, *([self._booting] if self._booting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.engine.close()
        for device in self.devices.values():
            device.close()

    def device(self, name: str) -> SlotDevice:
        """Return a device. Errors: DeviceNotFound."""
        return find_device(self.devices, name, self.machine.name)

    def traced(self, name: str) -> Traced:
        """Return the CPU's side of a device. Errors: DeviceNotFound."""
        return replace(self.device(name).traced, symbol=self.symbols.name)

    def driver(self, name: str) -> Driver:
        """Refuse: the guest drives the devices. Errors: DeviceNotFound; DeviceNotReady."""
        return self.device(name).ready_driver()

    async def go(self) -> CpuStatus:
        """Let the CPU run; a guest that has ended boots anew. Errors: DeviceNotReady; NoAnswer."""
        async with self._turn:
            if self.status.now.state is CpuState.OFF:
                self._begin_boot(run=True, renew=True)
            await self._booted()
            await self._run()
            return self.status.now

    async def halt(self) -> CpuStatus:
        """Stop the CPU. Errors: NoAnswer; DeviceNotReady."""
        async with self._turn:
            await self._booted()
            if self.status.now.state in {CpuState.RUNNING, CpuState.STALLED}:
                pc = await self.engine.halt()
                # The guest may have ended before the engine halted it.
                if self.status.now.state in {CpuState.RUNNING, CpuState.STALLED}:
                    self.status.set(CpuState.STOPPED, reason=StopReason.ASKED, pc=pc)
            return self.status.now

    async def step(self, count: int, *, interrupts: bool = True) -> CpuStatus:
        """Execute instructions; without `interrupts` they stay pending meanwhile.

        Errors: CpuRunning; BadValue; NoAnswer.
        """
        if count > STEPS_MAX:
            raise BadValue(f"{count} steps: at most {STEPS_MAX} in one call")
        async with self._turn:
            self.require_stopped()
            end = await self.engine.step(max(1, count), interrupts=interrupts)
            if end.kind in {"budget", "kick", "lost"}:
                self.status.set(CpuState.STOPPED, reason=StopReason.STEPPED, pc=end.pc)
            else:
                self._ended(Ended(end.kind, end.pc, code=end.code, address=end.address or 0))
            return self.status.now

    async def reset(self) -> CpuStatus:
        """Boot anew: go on if the CPU ran. Errors: DeviceNotReady; NoAnswer."""
        async with self._turn:
            before = self.status.now.state
            self._begin_boot(run=before is not CpuState.STOPPED, renew=True)
            await self._booted()
            return self.status.now

    async def set_points(
        self, owner: str, breaks: Sequence[int], watches: Sequence[tuple[int, int, str]]
    ) -> None:
        """Replace the breakpoints and watchpoints of an owner; those of others stay.

        Errors: NoAnswer.
        """
        self._points[owner] = tuple(breaks), tuple(watches)
        all_breaks = sorted({one for found, _ in self._points.values() for one in found})
        all_watches = sorted({one for _, found in self._points.values() for one in found})

        def replace(board: Board) -> None:
            board.set_breakpoints(all_breaks)
            board.set_watchpoints(all_watches)

        await self.engine.call(replace)

    def require_stopped(self) -> None:
        """Refuse unless the CPU is stopped. Errors: CpuRunning."""
        state = self.status.now.state
        if state not in {CpuState.STOPPED, CpuState.OFF}:
            raise CpuRunning(
                f"the CPU is {state.name.lower()}, and this needs a CPU that is stopped: stop it",
                state=state.name,
            )

    @property
    def missing(self) -> Sequence[str]:
        """Names of the devices that are not attached."""
        return [name for name, one in self.devices.items() if one.state is not ProbeState.READY]

    async def _run(self) -> None:
        """Let the engine run. Errors: NoAnswer."""
        # Before it runs: its end may be told before this task goes on.
        self.status.set(CpuState.RUNNING, boots=self.boots)
        try:
            await self.engine.go()
        except VirtmeshError:
            self.status.set(CpuState.STOPPED, StopReason.ASKED)
            raise

    def _begin_boot(self, *, run: bool, renew: bool = False) -> None:
        """Begin to boot, in a task of its own."""
        if self._booting is not None:
            self._booting.cancel()
        self._booting = asyncio.create_task(self._boot(run=run, renew=renew), name="boot")
        # After a reboot nobody waits for it; what failed is in the boot log.
        self._booting.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _booted(self) -> None:
        """Wait until the guest is loaded. Errors: DeviceNotReady; those of the boot."""
        if self._booting is None:
            return
        try:
            async with time_limit(READY_SECONDS):
                await asyncio.shield(self._booting)
        except TimeoutError:
            reasons = "; ".join(f"{one}: {self.devices[one].detail}" for one in self.missing)
            raise DeviceNotReady(
                f"the CPU waits for {reasons or 'its devices'}", state=self.status.now.state.name
            ) from None

    async def _boot(self, *, run: bool, renew: bool) -> None:
        """Boot the guest. Errors: NoAnswer, which the boot log has as well."""
        try:
            await self._load_guest(renew=renew)
            if run:
                await self._run()
            else:
                pc = self.layout.registers["pc"]
                self.status.set(CpuState.STOPPED, reason=StopReason.ASKED, pc=pc, boots=self.boots)
        except VirtmeshError as error:
            self.boot_log.add(f"the guest can't boot: {error.message}")
            self.status.set(CpuState.STOPPED, reason=StopReason.ASKED)
            raise

    async def _load_guest(self, *, renew: bool) -> None:
        """Attach the devices anew, load the images, set the CPU to its first instruction."""
        self.status.set(CpuState.WAITING, missing=tuple(self.missing))
        await self.engine.halt()
        if renew:
            pc = self.layout.registers["pc"]
            # A device that comes back meanwhile must not be set up as the last guest had it.
            await self.engine.call(lambda board: board.reset(pc))
            for device in self.devices.values():
                device.renew()
        for device in self.devices.values():
            self.status.set(CpuState.WAITING, missing=tuple(self.missing))
            await device.until(ProbeState.READY)
        await asyncio.to_thread(self._load)
        registers = self.layout.registers
        serials = self._find_serials() if self._plan.serial_8n1 else ()
        await self.engine.call(lambda board: set_first(board, registers, serials))
        if serials:
            await self._forget_format()
        self.boots += 1
        self.boot_log.add(f"the guest boots at {registers['pc']:#x}")

    def _find_serials(self) -> Sequence[tuple[int, int]]:
        """Return slot and reg-shift of each serial port."""
        return [
            (one.slot, one.node.properties.get("reg-shift", 0))
            for one in self.devices.values()
            if NS16550A in one.node.compatible
        ]

    async def _forget_format(self) -> None:
        """Have serial ports forget that LCR was written: a guest that relies on it is told so."""
        for one in self.devices.values():
            if NS16550A in one.node.compatible and one.link is not None:
                await one.link.clear_report(begin_anew=True)

    def _load(self) -> None:
        """Copy the images into RAM."""
        for piece in self.layout.pieces:
            with self._ram.view(piece.address, piece.size) as view:
                view[: len(piece.data)] = piece.data
                view[len(piece.data) :] = bytes(piece.size - len(piece.data))

    def _device_settled(self, name: str) -> None:
        """Take note that a device the guest waited for is there again, or is given up."""
        now = self.status.now
        if now.state is CpuState.STALLED and name in now.missing:
            self.status.set(CpuState.RUNNING)

    def _ended(self, ended: Ended) -> None:
        """Take note of the end of a run."""
        kind = ended.kind
        if kind == "lost":
            name = next((one for one, it in self.devices.items() if it.slot == ended.slot), "")
            if name:
                self.boot_log.add(f"{name}: the guest waits for it: {ended.message}")
                self.status.set(CpuState.STALLED, pc=ended.pc, missing=(name,))
                self.devices[name].lose()
        elif kind == "reboot":
            self.boot_log.add("the guest reboots")
            self._begin_boot(run=True, renew=True)
        elif kind in {"poweroff", "fail"}:
            reason = StopReason.POWEROFF if kind == "poweroff" else StopReason.FAIL
            self.boot_log.add(f"the guest has ended: {kind} {ended.code or ''}".rstrip())
            self.status.set(CpuState.OFF, reason=reason, pc=ended.pc, code=ended.code)
        elif kind in {"breakpoint", "watchpoint"}:
            self.status.set(
                CpuState.STOPPED,
                reason=StopReason[kind.upper()],
                pc=ended.pc,
                address=ended.address,
            )
        else:
            self.boot_log.add("a fault of the CPU; the log of its service says more")
            self.status.set(CpuState.STOPPED, reason=StopReason.ASKED, pc=ended.pc)
