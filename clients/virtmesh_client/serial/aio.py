"""The asyncio face of a serial port: the same methods, awaited (see virtmesh_client/aio.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virtmesh_client.aio.stream import AsyncStream
from virtmesh_client.aio.threads import run
from virtmesh_client.blk.transfer import ignore
from virtmesh_client.serial.models import SerialEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.blk.transfer import Progress
    from virtmesh_client.serial.device import Serial
    from virtmesh_client.serial.models import (
        ErrorName,
        FlowName,
        Lines,
        Position,
        Sent,
        SerialInfo,
        SerialStats,
        Wait,
    )
    from virtmesh_client.serial.patterns import Match, Patterns
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


class AsyncSerial:
    """A serial port, and one terminal at the far end of its line; see `Serial` for the methods.

    Cancelling a call ends it; input that was sent stays sent.
    """

    def __init__(self, serial: Serial) -> None:
        self._serial = serial

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._serial.name

    @property
    def restarts(self) -> int:
        """How often the service began a new life."""
        return self._serial.restarts

    @property
    def missed_bytes(self) -> int:
        """Bytes that the machine sent and this terminal did not get."""
        return self._serial.missed_bytes

    @property
    def position(self) -> Position:
        """Behind the last byte that arrived: `since` of a terminal that goes on from here."""
        return self._serial.position

    @property
    def gone(self) -> str | None:
        """Why the port can't be reached now; None while it can."""
        return self._serial.gone

    @property
    def unmatched(self) -> bytes:
        """What arrived, and neither `read` nor `expect` has taken."""
        return self._serial.unmatched

    async def open(self) -> None:
        """Plug in."""
        await run(self._serial.open)

    async def close(self) -> None:
        """Unplug."""
        await run(self._serial.close)

    async def info(self) -> SerialInfo:
        """Say how the port is set, and how its lines stand."""
        return await run(self._serial.info)

    async def stats(self) -> SerialStats:
        """Return the counters of the device."""
        return await run(self._serial.stats)

    async def write(
        self,
        data: bytes | str | Iterable[bytes],
        *,
        flow: FlowName = "wait",
        wait: Wait = "taken",
        timeout: float | None = None,  # noqa: ASYNC109 - as Serial
        progress: Progress = ignore,
    ) -> Sent:
        """Send input."""
        call = self._serial.write
        return await run(call, data, flow=flow, wait=wait, timeout=timeout, progress=progress)

    async def send_line(
        self,
        text: str = "",
        *,
        end: str = "\r",
        wait: Wait = "taken",
        timeout: float | None = None,  # noqa: ASYNC109 - as Serial
    ) -> Sent:
        """Send a line as a person does."""
        return await run(self._serial.send_line, text, end=end, wait=wait, timeout=timeout)

    async def send_break(
        self,
        *,
        wait: Wait = "taken",
        timeout: float | None = None,  # noqa: ASYNC109 - as Serial
    ) -> Sent:
        """Send a break."""
        return await run(self._serial.send_break, wait=wait, timeout=timeout)

    async def inject_error(
        self,
        error: ErrorName,
        data: bytes = b"",
        *,
        flow: FlowName = "wait",
        wait: Wait = "taken",
        timeout: float | None = None,  # noqa: ASYNC109 - as Serial
    ) -> Sent:
        """Send characters with an error."""
        call = self._serial.inject_error
        return await run(call, error, data, flow=flow, wait=wait, timeout=timeout)

    async def lines(self) -> Lines:
        """Return the modem lines that the far end drives."""
        return await run(self._serial.lines)

    async def set_lines(
        self,
        *,
        cts: bool | None = None,
        dsr: bool | None = None,
        ri: bool | None = None,
        dcd: bool | None = None,
    ) -> Lines:
        """Set modem lines of the far end."""
        return await run(self._serial.set_lines, cts=cts, dsr=dsr, ri=ri, dcd=dcd)

    async def read(
        self,
        size: int | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as Serial
    ) -> bytes:
        """Return what the machine sends."""
        return await run(self._serial.read, size, timeout=timeout)

    async def expect(
        self,
        patterns: Patterns,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as Serial
    ) -> Match:
        """Wait until the machine sends a text, bytes or a match of a regular expression."""
        return await run(self._serial.expect, patterns, timeout=timeout)

    async def watch(self, *, tail: int = 0, since: Position | None = None) -> AsyncSerialWatch:
        """Follow the line by a terminal of its own."""
        return AsyncSerialWatch(await run(self._serial.watch, tail=tail, since=since))
