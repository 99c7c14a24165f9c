"""The asyncio face of an input device: the same methods, awaited (see virtmesh_client/aio.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeVar

from virtmesh_client.aio.stream import AsyncStream
from virtmesh_client.aio.threads import run
from virtmesh_client.input.device import CLICK_SECONDS, TAP_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.input.device import Input
    from virtmesh_client.input.events import Event
    from virtmesh_client.input.models import (
        Injected,
        InputInfo,
        InputStats,
        OutputPacket,
        Played,
        Received,
        Wait,
    )
    from virtmesh_client.input.pointer import Point
    from virtmesh_client.input.recording import Recording
    from virtmesh_client.input.watch import InputWatch

Item = TypeVar("Item")


class AsyncWatch(AsyncStream[Item]):
    """An open stream; see `InputWatch`. Cancelling a task that waits for it ends the stream."""

    def __init__(self, watch: InputWatch[Item]) -> None:
        super().__init__(watch)
        self._watch = watch

    @property
    def sequence(self) -> int:
        """The number of the last event or packet before the stream."""
        return self._watch.sequence

    async def close(self) -> None:
        """End the stream."""
        self._watch.close()


class AsyncInput:
    """An input device, and one injector of it; see `Input` for the methods.

    Cancelling a call ends it before its next packet, and releases what it holds down.
    """

    def __init__(self, device: Input) -> None:
        self._device = device

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._device.name

    async def close(self) -> None:
        """Release what this injector holds."""
        await run(self._device.close)

    async def info(self) -> InputInfo:
        """Describe the device, and say which lights are on now."""
        return await run(self._device.info)

    async def stats(self) -> InputStats:
        """Return the counters of the device."""
        return await run(self._device.stats)

    async def inject(
        self, events: Iterable[Event | tuple[str, int]], *, wait: Wait = "accepted"
    ) -> Injected:
        """Inject events, as they are or as names with values."""
        return await run(self._device.inject, events, wait=wait)

    async def press(self, chord: str, *, wait: Wait = "accepted") -> Injected:
        """Press keys, and hold them until `release`."""
        return await run(self._device.press, chord, wait=wait)

    async def release(self, chord: str, *, wait: Wait = "accepted") -> Injected:
        """Release keys, in the reverse order."""
        return await run(self._device.release, chord, wait=wait)

    async def key(
        self,
        *chords: str,
        hold: float = 0.0,
        count: int = 1,
        interval: float = 0.0,
        wait: Wait = "accepted",
    ) -> Injected:
        """Press and release keys or chords."""
        call = self._device.key
        return await run(call, *chords, hold=hold, count=count, interval=interval, wait=wait)

    async def type(
        self,
        text: str,
        *,
        layout: str = "us",
        variant: str = "",
        delay: float = 0.0,
        wait: Wait = "accepted",
    ) -> Injected:
        """Type text on a keyboard layout of xkb."""
        call = self._device.type
        return await run(call, text, layout=layout, variant=variant, delay=delay, wait=wait)

    async def move_rel(
        self, dx: int, dy: int, *, duration: float = 0.0, wait: Wait = "accepted"
    ) -> Injected:
        """Move by a distance."""
        return await run(self._device.move_rel, dx, dy, duration=duration, wait=wait)

    async def move_to(
        self, x: int, y: int, *, duration: float = 0.0, wait: Wait = "accepted"
    ) -> Injected:
        """Move to a point."""
        return await run(self._device.move_to, x, y, duration=duration, wait=wait)

    async def path(
        self, points: Iterable[Point], *, duration: float, wait: Wait = "accepted"
    ) -> Injected:
        """Move through points."""
        return await run(self._device.path, points, duration=duration, wait=wait)

    async def point(self, x: float, y: float) -> Point:
        """Return the point at fractions of the axes."""
        return await run(self._device.point, x, y)

    async def click(
        self,
        button: str = "left",
        *,
        count: int = 1,
        hold: float = CLICK_SECONDS,
        interval: float = 2 * CLICK_SECONDS,
        wait: Wait = "accepted",
    ) -> Injected:
        """Click a button."""
        call = self._device.click
        return await run(call, button, count=count, hold=hold, interval=interval, wait=wait)

    async def drag(
        self,
        to: Point,
        *,
        start: Point | None = None,
        button: str = "left",
        duration: float = 0.3,
        wait: Wait = "accepted",
    ) -> Injected:
        """Drag with a button held."""
        call = self._device.drag
        return await run(call, to, start=start, button=button, duration=duration, wait=wait)

    async def scroll(
        self,
        notches: float,
        *,
        horizontal: float = 0.0,
        interval: float = 0.0,
        wait: Wait = "accepted",
    ) -> Injected:
        """Turn the wheels."""
        call = self._device.scroll
        return await run(call, notches, horizontal=horizontal, interval=interval, wait=wait)

    async def touch_down(
        self, x: int, y: int, *, slot: int = 0, wait: Wait = "accepted"
    ) -> Injected:
        """Put a finger down."""
        return await run(self._device.touch_down, x, y, slot=slot, wait=wait)

    async def touch_move(
        self, x: int, y: int, *, slot: int = 0, wait: Wait = "accepted"
    ) -> Injected:
        """Move a finger that is down."""
        return await run(self._device.touch_move, x, y, slot=slot, wait=wait)

    async def touch_up(self, *, slot: int = 0, wait: Wait = "accepted") -> Injected:
        """Lift a finger."""
        return await run(self._device.touch_up, slot=slot, wait=wait)

    async def tap(
        self,
        x: int,
        y: int,
        *,
        hold: float = TAP_SECONDS,
        count: int = 1,
        wait: Wait = "accepted",
    ) -> Injected:
        """Tap with one finger."""
        return await run(self._device.tap, x, y, hold=hold, count=count, wait=wait)

    async def swipe(
        self,
        start: Point,
        end: Point,
        *,
        duration: float = 0.3,
        fingers: int = 1,
        wait: Wait = "accepted",
    ) -> Injected:
        """Swipe from point to point."""
        call = self._device.swipe
        return await run(call, start, end, duration=duration, fingers=fingers, wait=wait)

    async def release_all(self) -> list[str]:
        """Release every key and touch that any injector holds."""
        return await run(self._device.release_all)

    async def set_led(self, led: str, on: bool = True) -> None:  # noqa: FBT001, FBT002 - as Input
        """Turn a light on or off, as the operating system does."""
        await run(self._device.set_led, led, on)

    async def watch(self, *, seconds: float | None = None) -> AsyncWatch[Received]:
        """Follow what the driver receives."""
        return AsyncWatch(await run(self._device.watch, seconds=seconds))

    async def watch_output(self, *, seconds: float | None = None) -> AsyncWatch[OutputPacket]:
        """Follow what the driver sends to the device."""
        return AsyncWatch(await run(self._device.watch_output, seconds=seconds))

    async def record(self, *, seconds: float | None = None, events: int | None = None) -> Recording:
        """Record what the driver receives."""
        return await run(self._device.record, seconds=seconds, events=events)

    async def play(
        self,
        recording: Recording,
        *,
        speed: float = 1.0,
        skip_missing: bool = False,
        wait: Wait = "accepted",
    ) -> Played:
        """Replay a recording."""
        call = self._device.play
        return await run(call, recording, speed=speed, skip_missing=skip_missing, wait=wait)
