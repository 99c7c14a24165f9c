"""The keyboard and the pointer that a viewer gets, among the devices of the machine."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.vnc.pointer import (
    Pointer,
    PointerBy,
    PointerTo,
    Pointing,
    is_mouse,
    is_tablet,
    merge,
)
from virtmesh_client.vnc.pump import Pump
from virtmesh_client.vnc.together import run_together
from virtmesh_client.vnc.typist import Typist
from virtmesh_common.errors import VirtmeshError, WrongKind
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.names import KEYS
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.input.models import InputInfo
    from virtmesh_client.vnc.messages import KeyEvent
    from virtmesh_client.vnc.options import VncOptions

BUTTONS = KEYS["BTN_MISC"]
"""The first code of a button; those below are keys."""
FIND_SECONDS = 2.0
"""How long a session may be held up by looking for devices."""
FINISH_SECONDS = 2.0
"""How long a session goes on when its viewer has left, for what it typed last."""
RETRY_SECONDS = 2.0
"""How long until devices are looked for again, if none answered."""


class Desk:
    """Looks for the devices, and has a pump for each one found."""

    def __init__(
        self, machine: AsyncMachine, options: VncOptions, has_mouse: Callable[[], None]
    ) -> None:
        self._machine = machine
        self._options = options
        self._has_mouse = has_mouse
        """Called when the pointer turns out to be a mouse."""
        self._keyboard: Pump[KeyEvent] | None = None
        self._pointer: Pump[Pointing] | None = None
        self._is_found = False
        self._is_relative = False
        self._place: tuple[int, int] | None = None
        self._buttons = 0

    def key(self, event: KeyEvent) -> None:
        """Press or release a key."""
        if self._keyboard is not None:
            self._keyboard.put(event)

    def point(self, buttons: int, place: tuple[int, int], size: tuple[int, int]) -> None:
        """Move the pointer to a place on a screen of a size, both in pixels."""
        before, self._place = self._place, place
        if self._pointer is None:
            return
        if self._is_relative:
            step = (0, 0) if before is None else (place[0] - before[0], place[1] - before[1])
            self.move(buttons, *step)
            return
        x = min(place[0] / max(1, size[0] - 1), 1.0)
        y = min(place[1] / max(1, size[1] - 1), 1.0)
        self._pointer.put(PointerTo(buttons, x, y, is_step=self._is_step(buttons)))

    def move(self, buttons: int, dx: int, dy: int) -> None:
        """Move the pointer by a distance in pixels."""
        if self._pointer is not None and self._is_relative:
            self._pointer.put(PointerBy(buttons, dx, dy, is_step=self._is_step(buttons)))

    def _is_step(self, buttons: int) -> bool:
        """Say whether no button has changed since the last event."""
        before, self._buttons = self._buttons, buttons
        return before == buttons

    async def find(self) -> None:
        """Look for the devices, for a short time: `run` goes on with it."""
        with contextlib.suppress(TimeoutError, VirtmeshError):
            async with time_limit(FIND_SECONDS):
                await self._find()

    async def run(self) -> None:
        """Serve the devices until the task is cancelled."""
        while not self._is_found:
            try:
                await self._find()
            except VirtmeshError as error:
                self._options.tell(f"no input devices yet: {error.message}")
                await asyncio.sleep(RETRY_SECONDS)
        await run_together(*(pump.run() for pump in self._pumps), asyncio.Event().wait())

    async def finish(self) -> None:
        """Wait, for a short time, until what the viewer did last has reached the devices."""
        with contextlib.suppress(TimeoutError):
            async with time_limit(FINISH_SECONDS):
                for pump in self._pumps:
                    await pump.finish()

    @property
    def _pumps(self) -> list[Pump[KeyEvent] | Pump[Pointing]]:
        return [pump for pump in (self._keyboard, self._pointer) if pump is not None]

    async def _find(self) -> None:
        """Look at every input device. Errors: VirtmeshError."""
        options = self._options
        infos: dict[str, InputInfo] = {}
        for device in await self._machine.devices():
            if device.virtio_device_id != VirtioId.INPUT:
                continue
            try:
                infos[device.name] = await self._machine.input(device.name).info()
            except VirtmeshError as error:
                options.tell(f"{device.name} is left out: {error.message}")
        keyboard = options.keyboard or first(infos, is_keyboard)
        pointer = options.pointer or first(infos, is_tablet) or first(infos, is_mouse)
        tell = options.tell
        if keyboard is not None:
            make = partial(Typist, layout=options.layout)
            self._keyboard = Pump(self._machine, keyboard, make, keep_both, tell)
        if pointer is not None:
            info = infos.get(pointer) or await self._machine.input(pointer).info()
            self._is_relative = not is_tablet(info)
            self._pointer = Pump(self._machine, pointer, Pointer, merge, tell)
            if self._is_relative:
                self._has_mouse()
        self._is_found = True
        tell(f"keys go to {keyboard or 'nothing'}, the pointer moves {pointer or 'nothing'}")


async def check_devices(machine: AsyncMachine, options: VncOptions) -> None:
    """Check the devices that the options name, if they do.

    Errors: DeviceNotFound; WrongKind, for one that has no keys, or is no pointer; others of
    `Input.info`.
    """
    if options.keyboard is not None:
        info = await machine.input(options.keyboard).info()
        if not has_keys(info):
            raise WrongKind(f"{options.keyboard} is a {info.personality}: it can't be the keyboard")
    if options.pointer is not None:
        info = await machine.input(options.pointer).info()
        if not (is_tablet(info) or is_mouse(info)):
            raise WrongKind(f"{options.pointer} is a {info.personality}: it can't be the pointer")


def keep_both(first: KeyEvent, second: KeyEvent) -> KeyEvent | None:
    """Keep every key event."""


def is_keyboard(info: InputInfo) -> bool:
    """Say whether a device has letters and Enter."""
    return all(info.has(EV_KEY, KEYS[one]) for one in ("KEY_A", "KEY_Z", "KEY_ENTER"))


def has_keys(info: InputInfo) -> bool:
    """Say whether a device has any key that is no button: a keypad can be chosen by name."""
    return any(code < BUTTONS for code in info.capabilities.get(EV_KEY, ()))


def first(infos: dict[str, InputInfo], is_one: Callable[[InputInfo], bool]) -> str | None:
    """Return the first device of a kind, by the order of addresses."""
    return next((name for name, info in infos.items() if is_one(info)), None)
