"""Playing a dialogue against a device, and saying what the device must not do."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from virtmesh.attach.bus import Access
from virtmesh.attach.guest_ram import Ram
from virtmesh.testing.malicious.broken import Problem
from virtmesh.testing.malicious.dialogue import (
    Dialogue,
    Memory,
    Notify,
    Race,
    RegisterRead,
    RegisterWrite,
)
from virtmesh_common.errors import RegisterError, VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.base import Driver
    from virtmesh.testing.malicious.ways import Attach

TURNS = 3
"""Turns of the event loop after a notification, in which a device of this process looks."""


@dataclass
class Victim:
    """A device, the driver that has to work on it, and how long a step may take in seconds."""

    attach: Attach
    make_driver: Callable[[Bus], Driver]
    use: Callable[[Driver], Awaitable[object]] | None
    patience: float
    faults: list[str] = field(default_factory=list)
    """What callbacks of the event loop have raised."""
    slowest_detach: float = 0.0
    """Seconds of the longest detach after a dialogue, with the reset that belongs to it."""

    async def try_out(self, dialogue: Dialogue) -> int:
        """Play a dialogue, then use the device; return how many accesses were refused.

        Errors: Problem.
        """
        try:
            with Listening(self.faults):
                refused = await self._play(dialogue)
                await self._next_driver(dialogue)
        except Problem:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            raise Problem(f"{type(error).__name__}: {error}") from error
        return refused

    async def _play(self, dialogue: Dialogue) -> int:
        refused = 0
        with Ram(dialogue.ram_bytes, dialogue.ram_address) as ram, ExitStack() as races:
            async with self._attached(ram) as bus:
                for step in dialogue.steps:
                    match step:
                        case Memory(address, data):
                            write(ram, address, data)
                        case Race():
                            races.enter_context(Racer(ram, step))
                        case Notify(queue):
                            await self._notify(bus, queue)
                        case RegisterRead(offset, width):
                            refused += await self._access(bus, Access(offset, width))
                        case RegisterWrite(offset, width, value):
                            refused += await self._access(bus, Access(offset, width, value))
                races.close()  # Before the memory goes.
        return refused

    async def _access(self, bus: Bus, access: Access) -> bool:
        """Access a register; return whether that was refused, as it may be. Errors: Problem."""
        try:
            async with time_limit(self.patience):
                await bus.access([access])
        except RegisterError:
            return True
        except TimeoutError:
            raise Problem(f"an access was not answered within {self.patience:g} s") from None
        except VirtmeshError as error:
            raise Problem(f"an access ended with {error.reason}: {error.message}") from error
        return False

    async def _notify(self, bus: Bus, queue: int) -> None:
        bus.notify(queue)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _next_driver(self, dialogue: Dialogue) -> None:
        """Have the driver use the device. Errors: Problem."""
        with Ram(dialogue.ram_bytes, dialogue.ram_address) as ram:
            async with self._attached(ram) as bus:
                driver = self.make_driver(bus)
                bus.on_interrupt(driver.handle_irq)
                try:
                    async with time_limit(self.patience):
                        await driver.start()
                        if self.use is not None:
                            await self.use(driver)
                except TimeoutError:
                    raise Problem(f"the next driver waits for {self.patience:g} s") from None
                except VirtmeshError as error:
                    told = f"the next driver gets {error.reason}: {error.message}"
                    raise Problem(told) from error
                finally:
                    await driver.close()

    @asynccontextmanager
    async def _attached(self, ram: Ram) -> AsyncIterator[Bus]:
        """Attach, and detach within the time limit. Errors: Problem."""
        attachment = self.attach(ram)
        try:
            async with time_limit(self.patience):
                bus = await attachment.__aenter__()
        except TimeoutError:
            raise Problem(f"a driver can't attach within {self.patience:g} s") from None
        except VirtmeshError as error:
            raise Problem(f"a driver can't attach: {error.reason}: {error.message}") from error
        bus.on_interrupt(id)  # Nobody looks at what is used.
        try:
            yield bus
        finally:
            begun = time.monotonic()
            try:
                async with time_limit(self.patience):
                    await attachment.__aexit__(None, None, None)
            except TimeoutError:
                raise Problem(
                    f"the device was not reset and detached within {self.patience:g} s"
                ) from None
            self.slowest_detach = max(self.slowest_detach, time.monotonic() - begun)


class Listening:
    """Hears what callbacks of the event loop raise. Errors at the end: Problem."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_exception_handler()

    def __enter__(self) -> None:
        self._faults.clear()
        self._loop.set_exception_handler(self._note)

    def __exit__(self, *_: object) -> None:
        self._loop.set_exception_handler(self._before)
        if self._faults:
            raise Problem(f"a fault on the event loop: {self._faults[0]}")

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raised = context.get("exception")
        told = f"{type(raised).__name__}: {raised}" if raised else context["message"]
        self._faults.append(told)


def is_cancelled() -> bool:
    """Say whether somebody wants this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def write(ram: Ram, address: int, data: bytes) -> None:
    """Write to guest memory what lies in it."""
    if ram.address <= address <= ram.address + ram.size - len(data):
        ram.guest_memory.write(address, data)


class Racer:
    """A thread that keeps writing one or the other to memory."""

    def __init__(self, ram: Ram, race: Race) -> None:
        self._ram, self._race = ram, race
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="race", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        race, memory = self._race, self._ram.guest_memory
        if not self._ram.address <= race.address < self._ram.address + self._ram.size - 8:
            return
        while not self._stop.wait(0):
            memory.write(race.address, race.second)
            memory.write(race.address, race.first)
