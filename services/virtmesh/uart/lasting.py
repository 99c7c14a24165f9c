"""A serial port for as long as the machine has it, for who is at its far end: see relayed_line.py.

Clients have their streams here, and the scrollback is here: offsets and epoch are the same in all
lives of the process. They are those of the first process that this kernel service has found, so
terminals go on where they were after a restart of the kernel service, too. One stream goes to the
process that the port has now, from the first moment, so that nothing is missing. When the process
has gone, the driver says what it had sent. What nobody has seen of that goes into the scrollback
from what the driver keeps; and what the driver does not know to be sent, but was seen, is not sent
again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import grpc.aio

from virtmesh.kinds.lasting import ANSWER_S, LastingDevice
from virtmesh.uart.counters import UartCounters
from virtmesh.uart.driver.lives import Life
from virtmesh.uart.line import messages
from virtmesh.uart.line.far_end import FarEnd
from virtmesh.uart.line.stream import OpenStream
from virtmesh.uart.port import LineFormat, PortLines
from virtmesh.uart.relayed_line import RelayedLine
from virtmesh.uart.service import UartService
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import DeviceLost, ShuttingDown, VirtmeshError
from virtmesh_common.sent_status import keep_sent_status
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.kinds.relay import TypedContext
    from virtmesh.kinds.service import DriverOfDevice
    from virtmesh.uart.driver.driver import NS16550a
    from virtmesh.uart.driver.lives import SerialLives

TAIL_MAX = (1 << 32) - 1
"""All that a scrollback has."""
LINES_MAX = 256
"""Requests on the way to a process behind which only the last change of modem lines is kept."""
SCROLLBACK_MAX = 64 << 20
"""Largest scrollback that is kept here, in bytes."""


class LastingPort(LastingDevice["NS16550a"]):
    """One serial port."""

    def __init__(
        self,
        name: str,
        device: DriverOfDevice,
        channel: Callable[[], grpc.aio.Channel],
    ) -> None:
        super().__init__(name, device, channel)
        self.line = RelayedLine()
        self.far_end = FarEnd(self.line, 1)
        self.paced = False
        self._epoch = ""
        """That of the process."""
        self._seen = 0
        """Offset of the process's output up to which it was seen."""
        self._begun = False
        self._known_at: int | None = None
        """Offset up to which the first process had sent when it was reached; None once all of that
        is here."""
        self._is_open = False
        """A process had a stream, and it was not found out what it had done."""
        self._life = Life()
        """That of the process which has, or had, the stream."""
        self._before = UartCounters()
        """What the processes did that have gone."""
        self._closing: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()

    def came(self, driver: NS16550a) -> None:
        """Take a driver of the port, which is in use."""
        last = self._driver
        driver.lives.has_relay = True
        if last is not None and not last.gone:  # Somebody had it reset, and its FIFO thrown away.
            life = driver.lives.now
            life.received = max(life.received, self.line.arrived)
        super().came(driver)

    def stop(self) -> None:
        """End the streams of clients: the kernel service stops."""
        if not self._closing.done():
            self._closing.set_result(ShuttingDown("the kernel service is stopping"))

    # -- Clients ----------------------------------------------------------------------------------

    @property
    def is_known(self) -> bool:
        """Whether its first process has been reached, and all is here that it had sent by then."""
        return self._begun and self._known_at is None

    @property
    def uart_counters(self) -> UartCounters:
        """The counters of the processes that have gone."""
        return self._before

    async def open(self, context: TypedContext) -> None:
        """Serve a terminal. Errors: as UartService.Open; DeviceLost."""
        ending: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        patience = asyncio.create_task(self._wait_for(context.retry_for, ending))
        try:
            await OpenStream(self.far_end, context).run(ending)
        finally:
            patience.cancel()

    async def stats(self, context: TypedContext) -> None:
        """Answer GetStats: all lives together."""
        await context.read()
        stats = pb.GetStatsResponse()
        if self._linked.is_set():
            with suppress(grpc.aio.AioRpcError):
                stats = await UartServiceStub(self._channel()).GetStats(
                    pb.GetStatsRequest(), timeout=ANSWER_S
                )
        for name, value in vars(self._before).items():
            setattr(stats, name, getattr(stats, name) + value)
        stats.waiting_bytes = self.line.waiting
        stats.refused_bytes += self.line.refused_bytes
        stats.watchers_cut += self.far_end.watchers_cut
        await context.write(stats)

    async def unary(self, method: str, context: TypedContext) -> None:
        """Answer another call of UartService. Errors: as there."""
        request = await context.read()
        call = getattr(UartService(self), method)
        await context.write(await call(request, context))

    async def _wait_for(self, retry_for: float, ending: asyncio.Future[VirtmeshError]) -> None:
        """End a stream when the kernel stops, or the port is away for longer than its patience."""
        away = asyncio.create_task(self._lose_patience(retry_for))
        try:
            ends: set[asyncio.Future[Any]] = {away, self._closing}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                stops = self._closing.done()
                ending.set_result(self._closing.result() if stops else self._lost())
        finally:
            away.cancel()

    def _lost(self) -> DeviceLost:
        driver = self._driver
        why = driver.failed.result().message if driver and driver.failed.done() else ""
        return DeviceLost(f"{self.name} was lost{': ' * bool(why)}{why}", device=self.name)

    # -- The process of the port ------------------------------------------------------------------

    async def _serve(self) -> None:
        """Pass input and output until the stream ends. Errors: AioRpcError; VirtmeshError."""
        stub = UartServiceStub(self._channel())
        info = await stub.GetInfo(pb.GetInfoRequest(), timeout=ANSWER_S)
        self.paced = info.paced
        if self._driver is not None:
            self._begin_life(self._driver.lives, info)
        call = stub.Open()
        keep_sent_status(call)
        requests: deque[pb.OpenRequest] = deque()
        news = asyncio.Event()

        def send(request: pb.OpenRequest) -> None:
            is_full = len(requests) >= LINES_MAX and requests[-1].HasField("lines")
            if is_full and request.HasField("lines"):
                requests.pop()  # Nobody else bounds them, and each has the whole state.
            requests.append(request)
            news.set()

        async def write() -> None:
            await call.write(pb.OpenRequest(start=self._start(info)))
            while True:
                while requests:
                    await call.write(requests.popleft())
                news.clear()
                await news.wait()

        writer = asyncio.create_task(write(), name=f"{self.name} link writes")
        try:
            async with time_limit(ANSWER_S):
                first = await call.read()
            driver = self._driver
            if first is grpc.aio.EOF or driver is None or driver.failed.done():
                return  # Whose input is counted must be known before any is given.
            self._life = driver.lives.now
            self._begin(cast("pb.OpenResponse", first).snapshot, info)
            self.line.link(send)
            self._is_open = True
            self._away.clear()
            self._linked.set()
            while (response := await call.read()) is not grpc.aio.EOF:
                self._take(cast("pb.OpenResponse", response))
        finally:
            self.line.unlink()
            writer.cancel()
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _start(self, info: pb.GetInfoResponse) -> pb.Start:
        """Say where the output of a process begins: where it was left, or with all that is kept."""
        if info.epoch == self._epoch:
            return pb.Start(watch=True, offset=self._seen, epoch=self._epoch)
        return pb.Start(watch=True, tail_bytes=TAIL_MAX)

    def _begin(self, snapshot: pb.Snapshot, info: pb.GetInfoResponse) -> None:
        """Take how the line stands at a process."""
        line = self.line
        if not self._begun:
            self._begun = True
            far_end = FarEnd(line, min(max(info.scrollback_bytes, 1), SCROLLBACK_MAX))
            line.forget_listeners_but(far_end)
            far_end.epoch, self._known_at = snapshot.epoch, snapshot.output_offset
            far_end.scrollback.begin(snapshot.offset)
            self.far_end = far_end
            line.lines = messages.change_lines(line.lines, snapshot.lines)
        elif snapshot.lines != messages.spell_lines(line.lines):
            line.lines_are_due = True
        self._epoch = snapshot.epoch
        self._note_seen(snapshot.offset)
        line.changed_lines(parse_port_lines(snapshot.port_lines))
        line.changed_format(parse_format(snapshot.format))

    def _note_seen(self, offset: int) -> None:
        """Note up to where the output of the process was seen."""
        self._seen = offset
        if self._known_at is not None and offset >= self._known_at:
            self._known_at = None

    def _take(self, response: pb.OpenResponse) -> None:
        """Take what the process says."""
        match response.WhichOneof("response"):
            case "output":
                output = response.output
                self.line.output(output.data)
                self._note_seen(output.offset + len(output.data))
            case "taken":
                taken = response.taken
                self.line.taken(taken.characters, taken.overrun, self._life.received)
            case "port_lines":
                self.line.changed_lines(parse_port_lines(response.port_lines))
            case "format":
                self.line.changed_format(parse_format(response.format))
            case _:
                pass

    @property
    def _is_unconcluded(self) -> bool:
        return self._is_open

    async def _until_gone(self, driver: NS16550a) -> None:
        """Wait until the process has gone whose stream has ended, unless another one is there."""
        if not self._has_gone(driver):
            await super()._until_gone(driver)

    def _conclude(self, driver: NS16550a) -> None:
        """Find out what a process had done that has gone, and have the driver go on."""
        if self._has_gone(driver):  # Otherwise it may be about to go.
            self._account(driver.lives)

    def _has_gone(self, driver: NS16550a) -> bool:
        """Say whether a driver, the present one, knows that the process of the stream has gone."""
        return driver.failed.done() or driver.lives.now is not self._life

    def _begin_life(self, lives: SerialLives, info: pb.GetInfoResponse) -> None:
        """Settle what is open, before the process that says this of itself has a stream."""
        if self._is_open and info.epoch == self._epoch:
            self.line.leave_given()  # It lives, its stream had ended.
        elif self._is_open:
            self._account(lives)
        lives.settle()

    def _account(self, lives: SerialLives) -> None:
        """Find out what a process had done that has gone."""
        self._is_open, self._known_at = False, None
        life, resumed = self._life, self.line.resumed
        if not lives.waits_for(life):  # It is too late: others have been sent since.
            life = Life(life.received, self._seen)
        self.line.conclude(life.received)
        unseen = life.sent - self._seen
        if unseen < 0 and -unseen <= life.in_doubt:
            lives.sent(-unseen, life)  # They were seen: they must not be sent again.
        elif unseen > 0:
            kept = lives.last_sent(unseen)
            self.line.output(kept)
            lives.restored += len(kept)
            lives.lost += unseen - len(kept)
        before = self._before
        self._before = replace(
            before,
            received=before.received + life.received,
            overruns=before.overruns + self.line.overrun,
            transmitted=before.transmitted + life.sent,
        )
        lives.resumed += self.line.resumed - resumed
        self._device.resubmitted += self.line.resumed - resumed
        self._seen = 0
        if lives.now is self._life:
            lives.now = Life()
        lives.settle()


def parse_port_lines(message: pb.PortLines) -> PortLines:
    """Return the lines that the machine drives."""
    return PortLines(
        dtr=message.dtr,
        rts=message.rts,
        out1=message.out1,
        out2=message.out2,
        break_sent=message.break_sent,
    )


def parse_format(message: pb.LineFormat) -> LineFormat:
    """Return how the driver has set the port."""
    return LineFormat(message.baud, message.data_bits, message.parity, message.stop_half_bits)
