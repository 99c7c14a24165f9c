"""Serial ports for asyncio: the methods of `Serial`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virtmesh_client.aio.proxy import ClosingProxy, awaited, awaited_as
from virtmesh_client.aio.stream import AsyncStream
from virtmesh_client.aio.threads import run
from virtmesh_client.serial.device import Serial
from virtmesh_client.serial.models import SerialEvent

if TYPE_CHECKING:
    from virtmesh_client.serial.models import Position
    from virtmesh_client.serial.watch import SerialWatch


class AsyncSerialWatch(AsyncStream[SerialEvent]):
    """What happens on a line; see `SerialWatch`. Cancelling a task that waits for it ends it."""

    def __init__(self, watch: SerialWatch) -> None:
        super().__init__(watch)
        self._watch = watch

    @property
    def position(self) -> Position:
        """Behind the last byte that arrived, whether it has been taken or not."""
        return self._watch.position

    async def close(self) -> None:
        """End it."""
        await run(self._watch.close)


class AsyncSerial(ClosingProxy[Serial]):
    """A serial port, and one terminal at the far end of its line; see `Serial` for the methods.

    Cancelling a call ends it; input that was sent stays sent.
    """

    open = awaited(Serial.open)
    close = awaited(Serial.close)
    info = awaited(Serial.info)
    stats = awaited(Serial.stats)
    # The machine takes input, and sends text, when another task makes it.
    write = awaited(Serial.write, waits=True)
    send_line = awaited(Serial.send_line, waits=True)
    send_break = awaited(Serial.send_break, waits=True)
    inject_error = awaited(Serial.inject_error, waits=True)
    read = awaited(Serial.read, waits=True)
    expect = awaited(Serial.expect, waits=True)
    lines = awaited(Serial.lines)
    set_lines = awaited(Serial.set_lines)
    watch = awaited_as(AsyncSerialWatch, Serial.watch)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._blocking.name

    @property
    def restarts(self) -> int:
        """How often the service began a new life."""
        return self._blocking.restarts

    @property
    def missed_bytes(self) -> int:
        """Bytes that the machine sent and this terminal did not get."""
        return self._blocking.missed_bytes

    @property
    def position(self) -> Position:
        """Behind the last byte that arrived: `since` of a terminal that goes on from here."""
        return self._blocking.position

    @property
    def gone(self) -> str | None:
        """Why the port can't be reached now; None while it can."""
        return self._blocking.gone

    @property
    def unmatched(self) -> bytes:
        """What arrived, and neither `read` nor `expect` has taken."""
        return self._blocking.unmatched
