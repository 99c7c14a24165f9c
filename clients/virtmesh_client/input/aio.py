"""Input devices for asyncio: the methods of `Input`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from virtmesh_client.aio.proxy import ClosingProxy, awaited, awaited_as
from virtmesh_client.aio.stream import AsyncStream
from virtmesh_client.input.device import Input

if TYPE_CHECKING:
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


class AsyncInput(ClosingProxy[Input]):
    """An input device, and one injector of it; see `Input` for the methods.

    Cancelling a call ends it before its next packet, and releases what it holds down.
    """

    close = awaited(Input.close)
    info = awaited(Input.info)
    stats = awaited(Input.stats)
    inject = awaited(Input.inject)
    press = awaited(Input.press)
    release = awaited(Input.release)
    key = awaited(Input.key)
    type = awaited(Input.type)
    move_rel = awaited(Input.move_rel)
    move_to = awaited(Input.move_to)
    path = awaited(Input.path)
    point = awaited(Input.point)
    click = awaited(Input.click)
    drag = awaited(Input.drag)
    scroll = awaited(Input.scroll)
    touch_down = awaited(Input.touch_down)
    touch_move = awaited(Input.touch_move)
    touch_up = awaited(Input.touch_up)
    tap = awaited(Input.tap)
    swipe = awaited(Input.swipe)
    release_all = awaited(Input.release_all)
    set_led = awaited(Input.set_led)
    watch = awaited_as(AsyncWatch, Input.watch)
    watch_output = awaited_as(AsyncWatch, Input.watch_output)
    record = awaited(Input.record, waits=True)
    play = awaited(Input.play)

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._blocking.name
