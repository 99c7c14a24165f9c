"""The virtual terminal: the monitor on the first GPU that the kernel drives.

It has its cells and its session for as long as the kernel runs. Devices come and go: a GPU that is
back shows all of it again, and a machine without one never has a session. It draws when it has the
turn on the GPU (`GpuDevice.drawing`), and everything anew where someone else has had it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from virtmesh.gpu.gpu_device import GpuDevice
from virtmesh.input.driver import VirtIOInput
from virtmesh.kernel.monitor import Monitor
from virtmesh.kernel.vt.grid import Grid
from virtmesh.kernel.vt.keyboard_tty import KeyboardTty
from virtmesh.kernel.vt.keymap import Keymap
from virtmesh.kernel.vt.painter import Painter
from virtmesh.kernel.vt.pointer import ABSOLUTE, EV_ABS, EV_REL, RELATIVE, Pointer
from virtmesh_common.errors import VirtmeshError, WatcherTooSlow
from virtmesh_common.evdev import CODES, TYPES
from virtmesh_common.gpu.errors import BadRectangle, CommandFailed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from virtmesh.drivers.base import Driver
    from virtmesh.input.event_log import EventReader
    from virtmesh.input.info import AbsInfo
    from virtmesh.kernel.device import MachineDevice
    from virtmesh.kernel.kernel import Kernel

log = structlog.get_logger(__name__)

EV_KEY, EV_LED = TYPES["EV_KEY"], TYPES["EV_LED"]
LED_CAPSL = CODES["EV_LED"]["LED_CAPSL"]
EVENTS_AT_ONCE = 512
"""Most events that are taken before other tasks have their turn."""
SETTLE_S = 1.0
"""Longest wait for the devices: of several GPUs that are there, the first by address is taken."""
PAUSE_S = 1.0
"""Pause after a fault."""


class VirtualTerminal:
    """The monitor on a screen, from `start` to `stop`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._grid = Grid()
        self._tty = KeyboardTty(self._grid)
        self._painter = Painter(self._grid)
        self._pointer = Pointer()
        self._screen_turn = asyncio.Lock()
        self._has_screen = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for a screen."""
        self._task = asyncio.create_task(self._run(), name="terminal")

    async def stop(self) -> None:
        """Let go of the devices."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """Serve whoever is at the screen, until cancelled."""
        await self._kernel.settled(SETTLE_S)
        devices = [one for one in self._kernel.devices.values() if not one.node.reserved]
        tasks = [
            asyncio.create_task(self._attend(device), name=f"terminal {device.node.name}")
            for device in devices
        ]
        tasks.append(asyncio.create_task(self._talk(), name="terminal session"))
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(self) -> NoReturn:
        """Have a session of the monitor, as soon as there is a screen."""
        await self._has_screen.wait()
        monitor = Monitor(self._kernel)
        while True:
            await self._guard(monitor.serve(self._tty), "session")

    async def _attend(self, device: MachineDevice) -> NoReturn:
        """Use a device in each of its lives, if it is of use here."""
        last: Driver | None = None
        listener = Listener()
        while True:
            last = await device.next_driver(last)
            fault = False
            if isinstance(last, GpuDevice):
                fault = await self._guard(self._show_on(last, last.failed), last.name)
            elif isinstance(last, VirtIOInput):
                fault = await self._guard(self._listen_to(last, listener), last.name)
            if fault:
                last = None  # once more, with the same driver if it still works

    async def _guard(self, work: Coroutine[Any, Any, None], part: str) -> bool:
        """Do a part of the work; True after a fault of ours, and a pause."""
        try:
            await work
        except VirtmeshError as error:
            log.info("the terminal has lost a device", part=part, error=error.message)
            return False
        except Exception:
            log.exception("a fault of the terminal", part=part)
            self._kernel.boot_log.add(f"screen: a fault ({part}); the log of the kernel says more")
            await asyncio.sleep(PAUSE_S)
            return True
        return False

    # -- Output -----------------------------------------------------------------------------------

    async def _show_on(self, gpu: GpuDevice, lost: asyncio.Future[VirtmeshError]) -> None:
        """Show the terminal on a GPU until that is lost. Others wait for their turn."""
        async with self._screen_turn:
            changed = self._tty.changed
            lost.add_done_callback(lambda _: changed.set())
            gpu.on_resize = self._draw_anew
            self._draw_anew()
            self._has_screen.set()
            while not lost.done():
                changed.clear()
                await self._draw(gpu)
                await changed.wait()

    def _draw_anew(self) -> None:
        """Have everything drawn: there is another framebuffer, or someone else has drawn in it."""
        self._painter.forget()
        self._pointer.forget()
        self._tty.changed.set()

    async def _draw(self, gpu: GpuDevice) -> None:
        """Draw what has changed, as soon as it is our turn on the GPU."""
        async with gpu.drawing(self) as others_drew:
            if others_drew:
                self._painter.forget()
                self._pointer.forget()
            if not all(gpu.resolution):
                return  # the mode is changing: `on_resize` tells of the end
            try:
                scrolled = self._grid.scrolled
                self._pointer.fit(gpu.resolution)
                await self._painter.paint(gpu)
                self._tty.frame_done(scrolled)
                await self._pointer.place(gpu)
            except (BadRectangle, CommandFailed) as error:
                # As a rule the mode has changed under it. Otherwise the next change tries again.
                log.info("the screen was not drawn", device=gpu.name, error=error.message)
                self._painter.forget()
                self._pointer.forget()

    # -- Input ------------------------------------------------------------------------------------

    async def _listen_to(self, device: VirtIOInput, listener: Listener) -> None:
        """Take what a keyboard types and where a mouse or a tablet points, until it is lost."""
        await self._has_screen.wait()
        typed = asyncio.Event()
        light = asyncio.create_task(
            self._guard(show_caps(device, listener.keys, typed), device.name)
        )
        try:
            await self._read_from(device, listener, typed)
        finally:
            light.cancel()

    async def _read_from(
        self, device: VirtIOInput, listener: Listener, typed: asyncio.Event
    ) -> None:
        """Take what comes, and never wait for what the device does with orders."""
        keys = listener.keys
        reader = listener.reader = listener.reader or device.watch()
        if points(device):
            self._pointer.appear()
            self._tty.changed.set()
        while True:
            try:
                events, _ = await reader.read(EVENTS_AT_ONCE)
            except WatcherTooSlow:
                reader = listener.reader = device.watch()
                keys.release_all()
                continue
            for event in events:
                self._take(event, keys, device.info.axes)
            self._tty.changed.set()
            typed.set()
            await asyncio.sleep(0)  # a reader that is behind does not wait

    def _take(self, event: int, keys: Keymap, axes: Mapping[int, AbsInfo]) -> None:
        """Take an event."""
        kind, code, value = event >> 48, event >> 32 & 0xFFFF, event & 0xFFFF_FFFF
        if kind == EV_KEY:
            self._tty.type(keys.take(code, value))
        else:
            self._pointer.take(kind, code, value - (value >> 31 << 32), axes)


class Listener:
    """What is known of one input device, through all lives of its process."""

    def __init__(self) -> None:
        self.keys = Keymap()
        self.reader: EventReader | None = None
        """Reads the log that its drivers share; None before the first of them."""


async def show_caps(device: VirtIOInput, keys: Keymap, typed: asyncio.Event) -> None:
    """Have a light show Caps Lock, if there is one: as it is now, and one order at a time."""
    if LED_CAPSL not in device.info.codes.get(EV_LED, ()):
        return
    shown = keys.caps
    while True:
        await typed.wait()
        typed.clear()
        if keys.caps != shown:
            shown = keys.caps
            await device.set_led(LED_CAPSL, on=shown)


def points(device: VirtIOInput) -> bool:
    """Say whether a device moves the pointer."""
    codes = device.info.codes
    return RELATIVE[0] in codes.get(EV_REL, ()) or ABSOLUTE[0] in codes.get(EV_ABS, ())
