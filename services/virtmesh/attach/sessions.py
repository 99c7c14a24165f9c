"""The sessions of a device: one driver at a time, from Attach to the end of its connection."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Protocol

import structlog

from virtmesh.mmio.device import RESET_SECONDS, Attachment
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import (
    DeviceAttached,
    MemoryMissing,
    NotAttached,
    ResetUnderWay,
    ShuttingDown,
    VirtmeshError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.attach.server import ClosableChannel, Handover, HandoverServer
    from virtmesh.mmio.device import Device

log = structlog.get_logger(__name__)

SESSION_ENDED = "this session has ended and the device is reset: attach again"


class ServeChannel(Protocol):
    """Serves the register channel on a connection that has been attached."""

    def __call__(
        self, descriptor: int, session: Session, hang_up: Callable[[], None]
    ) -> ClosableChannel:
        """Begin to serve. `hang_up` closes the connection, and the channel before it."""


@dataclass(eq=False)
class Session:
    """One attachment. `ended` is True as soon as its driver may not use the device any more."""

    driver_name: str
    handover: Handover | None = None
    """What the driver handed over; None for a vhost-user front end."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    ended: bool = False
    streams: set[asyncio.Task[object]] = field(default_factory=set)
    """Tasks of streams that are cancelled when the session ends."""


class Sessions:
    """Decides which driver holds a device.

    Invariant: `_holder` is set from Attach until the device is reset and has dropped the driver's
    memory, so no driver finds requests of another one in the device.
    """

    def __init__(
        self,
        device: Device,
        handovers: HandoverServer | None,
        serve_channel: ServeChannel | None = None,
    ) -> None:
        self._device = device
        self._handovers = handovers
        self._serve_channel = serve_channel
        self._holder: Session | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.attaches = 0
        self.last_driver = ""
        """Name of the driver that attached last; empty without one."""

    @property
    def holder(self) -> Session | None:
        """The session of the attached driver."""
        return self._holder

    def check(self, session_id: str | None) -> Session | None:
        """Return the session that may access the device now; None if no driver is attached.

        `session_id` is what the caller sent. Errors: NotAttached if it is not the holder's.
        """
        holder = self._holder
        if holder is None and session_id is None:
            return None
        if holder is None or holder.ended:
            raise NotAttached(SESSION_ENDED)
        if session_id is None or not secrets.compare_digest(
            holder.id.encode(), session_id.encode()
        ):
            raise NotAttached(
                f"the device is attached to {holder.driver_name}, and this call lacks its session:"
                " detach that driver, then attach",
                holder=holder.driver_name,
            )
        return holder

    def require(self, session_id: str | None) -> Session:
        """Return the session of the attached driver. Errors: NotAttached."""
        session = self.check(session_id)
        if session is None:
            raise NotAttached("no driver is attached: attach first")
        return session

    async def attach(
        self, driver_name: str, ticket: str, *, config_changed: bool = False
    ) -> Session:
        """Attach a driver. The device is reset before.

        With `config_changed` the driver is told of a change of the configuration when it is live.
        Errors: DeviceAttached, MemoryMissing, BadDoorbell, ShuttingDown, ResetUnderWay.
        """
        await self._await_release()
        async with self._changing:
            self._check_free()
            if self._handovers is None:
                raise MemoryMissing(
                    "this service has no handover socket: start it with --handover PATH"
                )
            handover = self._handovers.find(ticket)
            await self.reset()  # Without a driver, anybody may have written to its registers.
            if handover.memory is None:
                raise MemoryMissing(
                    "the driver closed its handover connection before it was attached"
                )
            self._device.interrupt.set_line_call(handover.line)
            try:
                self._device.attach(
                    Attachment(
                        driver_name,
                        handover.memory,
                        handover.doorbells,
                        handover.config_call,
                        handover.inflight_logs,
                        config_changed,
                    )
                )
            except VirtmeshError:
                self._device.interrupt.set_line_call(None)
                raise
            handover.attached = True
            session = self._set_holder(Session(driver_name, handover))
            handover.gone.add_done_callback(lambda _: self._lose(session))
            if self._serve_channel is not None:
                hang_up = partial(self._handovers.drop, handover)
                try:
                    handover.channel = self._serve_channel(
                        handover.connection.fileno(), session, hang_up
                    )
                except BaseException:  # Most likely no descriptors are left.
                    hang_up()
                    raise
        return session

    async def claim(self, driver_name: str) -> Session:
        """Attach a driver that uses the model by another transport. Release it when it goes.

        Errors: DeviceAttached, ShuttingDown, ResetUnderWay.
        """
        await self._await_release()
        async with self._changing:
            self._check_free()
            await self.reset()  # Without a driver, anybody may have written to its registers.
            return self._set_holder(Session(driver_name))

    def _check_free(self) -> None:
        """Check that no driver is attached. Errors: DeviceAttached, ShuttingDown."""
        if self._closed:
            raise ShuttingDown("the device service is stopping")
        if self._holder is not None:
            raise DeviceAttached(
                f"the device is attached to {self._holder.driver_name}: stop that driver first",
                holder=self._holder.driver_name,
            )

    async def _await_release(self) -> None:
        """Wait until a driver that has gone is released, at most RESET_SECONDS.

        Errors: ResetUnderWay.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=RESET_SECONDS)
        if self._holder is not None and self._holder.ended:
            self._refuse_while_stuck(f"{self._holder.driver_name} has gone")

    def _refuse_while_stuck(self, what: str) -> NoReturn:
        """Raise what a caller is told that waited for a reset in vain. Errors: ResetUnderWay."""
        raise ResetUnderWay(
            f"{what}, and a request keeps the device from being reset"
            f" ({self._device.stuck or 'it ends just now'}): try again when the storage answers"
        )

    async def reset(self) -> None:
        """Reset the device, and wait until it is done. Errors: ResetUnderWay."""
        self._device.begin_reset()
        if not await self._device.reset_done():
            self._refuse_while_stuck("the reset is begun")

    def _set_holder(self, session: Session) -> Session:
        """Make a session the holder. What the driver before broke is forgotten."""
        self._device.interrupt.clear_violations()
        self._holder = session
        self.attaches += 1
        self.last_driver = session.driver_name
        self._record(trace_pb2.EVENT_KIND_ATTACH, session.driver_name)
        log.info("attached", driver=session.driver_name)
        return session

    async def detach(self, session: Session) -> None:
        """Detach a driver: the device is reset and free when this returns.

        It is completed even if the caller is cancelled. Errors: ResetUnderWay after RESET_SECONDS:
        the session has ended, and the device uses the driver's memory until the request ends.
        """
        self._end(session)
        task = self._begin_release(session)
        await asyncio.wait([task], timeout=RESET_SECONDS)
        if not task.done():
            self._refuse_while_stuck("the session has ended")
        task.result()

    async def release(self, session: Session) -> None:
        """Detach a driver, however long a request of it takes."""
        self._end(session)
        await asyncio.shield(self._begin_release(session))

    async def close(self) -> None:
        """Detach the driver, and refuse every further one."""
        self._closed = True
        try:
            async with self._changing:  # An Attach under way ends first.
                holder = self._holder
            if holder is not None:
                await self.release(holder)
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:  # Some are left if this call was cancelled.
                task.cancel()

    def _record(self, kind: int, text: str | None) -> None:
        """Record that a driver attached or detached."""
        self._device.interrupt.recorder.record(kind, text=text)

    def _end(self, session: Session) -> None:
        """End a session: its driver may not use the device any more."""
        session.ended = True
        for stream in session.streams:
            stream.cancel()

    def _lose(self, session: Session) -> None:
        """Detach a driver whose connection is closed."""
        if session.ended:
            return
        log.warning("the driver closed its connection", driver=session.driver_name)
        self._end(session)
        self._begin_release(session)

    def _begin_release(self, session: Session) -> asyncio.Task[None]:
        """Begin to release the device, in a task of its own."""
        task = asyncio.create_task(self._release(session), name="detach")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _release(self, session: Session) -> None:
        """Reset the device, and make it free."""
        async with self._changing:
            if self._holder is not session:
                return
            if session.handover is not None and session.handover.inflight_logs is not None:
                session.handover.inflight_logs.keep()
            self._device.begin_reset()
            while not await self._device.reset_done():
                pass  # A request uses its memory, which stays mapped. Other drivers are refused.
            self._device.interrupt.set_line_call(None)
            self._device.detach()
            if self._handovers is not None and session.handover is not None:
                self._handovers.drop(session.handover)
            self._holder = None
            self._record(trace_pb2.EVENT_KIND_DETACH, None)
        log.info("detached", driver=session.driver_name)
