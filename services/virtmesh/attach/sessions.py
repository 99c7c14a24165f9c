"""Who drives the device: one driver at a time, from Attach to the end of its connection."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from virtmesh.mmio.device import Attachment
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import DeviceAttached, MemoryMissing, NotAttached, ShuttingDown

if TYPE_CHECKING:
    from virtmesh.attach.server import Handover, HandoverServer
    from virtmesh.mmio.device import Device

log = structlog.get_logger(__name__)

SESSION_ENDED = "this session has ended, the device is reset: attach again"


@dataclass(eq=False)
class Session:
    """One attachment. `ended` turns true as soon as its driver may do no more."""

    driver_name: str
    handover: Handover | None = None
    """What the driver handed over; None for one that came another way."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    ended: bool = False
    streams: set[asyncio.Task[object]] = field(default_factory=set)
    """Tasks of streams that end with the session: they are cancelled."""


class Sessions:
    """The holder of a device, and how one becomes that.

    Invariant: `_holder` is set from Attach until the device is reset and has forgotten the driver's
    memory, so that no driver ever finds another one's requests in a device.
    """

    def __init__(self, device: Device, handovers: HandoverServer | None) -> None:
        self._device = device
        self._handovers = handovers
        self._holder: Session | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.attaches = 0

    @property
    def holder(self) -> Session | None:
        """The session of the attached driver."""
        return self._holder

    def check(self, session_id: str | None) -> Session | None:
        """Return the session that an access belongs to: None for anybody, with none attached.

        Errors: NotAttached.
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
                f"the device is attached to {holder.driver_name}; only its session may do this",
                holder=holder.driver_name,
            )
        return holder

    def require(self, session_id: str | None) -> Session:
        """Return the session of the attached driver. Errors: NotAttached."""
        session = self.check(session_id)
        if session is None:
            raise NotAttached("no driver is attached: attach first")
        return session

    async def attach(self, driver_name: str, ticket: str) -> Session:
        """Give the device to a driver.

        Errors: DeviceAttached, MemoryMissing, BadDoorbell, ShuttingDown.
        """
        async with self._changing:
            self._check_free()
            if self._handovers is None:
                raise MemoryMissing("this service was started without a handover socket")
            handover = self._handovers.find(ticket)
            await self._clear()
            if handover.memory is None:
                raise MemoryMissing("the driver closed its connection while it attached")
            self._device.attach(
                Attachment(driver_name, handover.memory, handover.doorbells, handover.config_call)
            )
            handover.attached = True
            session = self._hold(Session(driver_name, handover))
        handover.gone.add_done_callback(lambda _: self._lose(session))
        return session

    async def claim(self, driver_name: str) -> Session:
        """Give the device to a driver that uses its model another way. Detach it when it goes.

        Errors: DeviceAttached, ShuttingDown.
        """
        async with self._changing:
            self._check_free()
            await self._clear()
            return self._hold(Session(driver_name))

    def _check_free(self) -> None:
        """Check that a driver can have the device. Errors: DeviceAttached, ShuttingDown."""
        if self._closed:
            raise ShuttingDown("the device service is stopping")
        if self._holder is not None:
            raise DeviceAttached(
                f"the device is attached to {self._holder.driver_name}: stop that driver first",
                holder=self._holder.driver_name,
            )

    async def _clear(self) -> None:
        """Reset the device: somebody may have driven it by hand."""
        self._device.begin_reset()
        await self._device.reset_done()

    def _hold(self, session: Session) -> Session:
        """Make a session the holder."""
        self._holder = session
        self.attaches += 1
        self._record(trace_pb2.EVENT_KIND_ATTACH, session.driver_name)
        log.info("attached", driver=session.driver_name)
        return session

    async def detach(self, session: Session) -> None:
        """Take the device back: what is being executed finishes, then it is reset and free.

        Once begun it is completed, even if whoever waits for it gives up.
        """
        self._end(session)
        await asyncio.shield(self._begin_release(session))

    async def close(self) -> None:
        """Take the device back from whoever has it, and give it to nobody any more."""
        self._closed = True
        try:
            async with self._changing:  # An Attach under way ends first.
                holder = self._holder
            if holder is not None:
                await self.detach(holder)
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:  # Some are left when the wait was given up.
                task.cancel()

    def _record(self, kind: int, text: str | None) -> None:
        """Record who comes and goes."""
        self._device.interrupt.recorder.record(kind, text=text)

    def _end(self, session: Session) -> None:
        """Let a driver do no more."""
        session.ended = True
        for stream in session.streams:
            stream.cancel()

    def _lose(self, session: Session) -> None:
        """Detach a driver whose connection is closed."""
        if session.ended:
            return
        log.warning("the driver is gone", driver=session.driver_name)
        self._end(session)
        self._begin_release(session)

    def _begin_release(self, session: Session) -> asyncio.Task[None]:
        """Release the device in a task of its own."""
        task = asyncio.create_task(self._release(session), name="detach")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _release(self, session: Session) -> None:
        """Reset the device, and make it free."""
        async with self._changing:
            if self._holder is not session:
                return
            await self._clear()
            self._device.detach()
            if self._handovers is not None and session.handover is not None:
                self._handovers.drop(session.handover)
            self._holder = None
            self._record(trace_pb2.EVENT_KIND_DETACH, None)
        log.info("detached", driver=session.driver_name)
