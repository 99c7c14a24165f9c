"""Screens for asyncio: the methods of `Screen`, awaited (see aio/proxy.py)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

from virtmesh_client.aio.proxy import Proxy, awaited, called_as
from virtmesh_client.aio.stream import AsyncStream
from virtmesh_client.aio.threads import run_in
from virtmesh_client.channel import Scope
from virtmesh_client.screen.screen import Screen
from virtmesh_client.screen.update import Update

if TYPE_CHECKING:
    from virtmesh_client.screen.recording import Recorded, ScreenRecording
    from virtmesh_client.screen.watch import ScreenWatch


class AsyncScreenWatch(AsyncStream[Update]):
    """An open stream of updates; see `ScreenWatch`. Close it, or use it in an `async with`.

    Cancelling a task that waits for an update ends the stream.
    """

    def __init__(self, watch: ScreenWatch) -> None:
        super().__init__(watch)
        self._watch = watch

    async def close(self) -> None:
        """End the stream."""
        self._watch.close()


class AsyncScreenRecording:
    """A recording, which lasts as long as an `async with`; see `ScreenRecording`."""

    def __init__(self, recording: ScreenRecording) -> None:
        self._recording = recording

    async def __aenter__(self) -> Self:
        scope = Scope()
        scope.add(self._recording)
        try:
            await run_in(scope, self._recording.start, waits=True)
        except asyncio.CancelledError:
            # It may have succeeded in that moment, and nobody would stop it.
            await run_in(Scope(), self._recording.discard, waits=True)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        step = partial(self._recording.__exit__, kind, *exc)
        await run_in(Scope(), step, waits=True)

    async def stop(self) -> Recorded:
        """End it, and return what there is. Errors: as `ScreenRecording.stop`."""
        return await run_in(Scope(), self._recording.stop, waits=True)


class AsyncScreen(Proxy[Screen]):
    """The screens of a GPU; see `Screen` for the methods.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            Path("screen.png").write_bytes(await machine.screen("gpu").shot())
    """

    info = awaited(Screen.info)
    shot = awaited(Screen.shot)
    pixels = awaited(Screen.pixels)
    watch = called_as(AsyncScreenWatch, Screen.watch)
    wait_still = awaited(Screen.wait_still, waits=True)
    expect = awaited(Screen.expect, waits=True)
    record = called_as(AsyncScreenRecording, Screen.record)
    set_mode = awaited(Screen.set_mode)
    disconnect = awaited(Screen.disconnect)
    stats = awaited(Screen.stats)

    @property
    def name(self) -> str:
        """Name of the GPU."""
        return self._blocking.name
