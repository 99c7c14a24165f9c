"""The vhost-user socket of a device: takes one front end after the other.

A front end holds the device from its first message to the end of its connection; until it goes, the
next one waits. While a driver is attached another way, it is turned away.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import structlog

from virtmesh.rpc.unix_listener import UnixListener
from virtmesh.vhost_user.connection import FrontEnd
from virtmesh.vhost_user.framing import MessageSocket
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from virtmesh.attach.sessions import Sessions
    from virtmesh.mmio.device import DeviceState
    from virtmesh.vhost_user.framing import Message
    from virtmesh.virtio.device import VirtioDevice

log = structlog.get_logger(__name__)

FIRST_MESSAGE_SECONDS = 30.0
"""How long a connection may say nothing at first."""
CONNECTIONS_MAX = 8
"""Most connections at a time; each holds descriptors of this process."""
ACCEPT_PAUSE_SECONDS = 1.0
"""How long no connection is taken after one could not be."""


@runtime_checkable
class ReportsState(Protocol):
    """A device whose model another transport can drive, while that one holds the device."""

    @property
    def model(self) -> VirtioDevice:
        """The model."""

    def set_state_source(self, state: Callable[[], DeviceState] | None) -> None:
        """Have another transport tell the state; None: no more."""


class VhostUserServer:
    """One listening unix stream socket. `in_band` offers in-band notifications."""

    def __init__(
        self, path: Path, device: ReportsState, sessions: Sessions, *, in_band: bool
    ) -> None:
        self.path = path
        self._device = device
        self._sessions = sessions
        self._in_band = in_band
        self._listener: UnixListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """The one that takes connections, and one for each connection."""
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._turn = asyncio.Lock()
        """Who has it drives the device, or tries to."""
        self._driving: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Take front ends. Errors: AddressTaken."""
        self._listener = UnixListener(self.path, option="--vhost-user")
        self._begin(self._serve(self._listener.socket))

    async def close(self) -> None:
        """Take no more front ends, and remove the socket; the sessions are closed by then."""
        if self._listener is None:
            return
        self._listener.remove()
        for task in self._tasks:
            if task is not self._driving:  # That one ends by itself: its session did.
                task.cancel()
        await asyncio.wait(self._tasks)
        self._listener.close()
        self._listener = None

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        """Do something in a task of its own."""
        task = asyncio.create_task(work, name="vhost-user")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, listener: socket.socket) -> None:
        """Take connections; those above the limit wait in the backlog."""
        loop = asyncio.get_running_loop()
        while await self._room.acquire():
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("can't take a front end", error=os.strerror(error.errno or 0))
                self._room.release()
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
            else:
                self._begin(self._serve_one(MessageSocket(connection)))

    async def _serve_one(self, connection: MessageSocket) -> None:
        """Serve a connection to its end."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                message = await connection.receive()
            if message is not None:
                with closing(message):
                    async with self._turn:
                        await self._drive(connection, message)
        except TimeoutError:
            log.warning("a front end said nothing", seconds=FIRST_MESSAGE_SECONDS)
        except VirtmeshError as error:
            log.warning("the connection to a front end ends", reason=error.message)
        except Exception:
            # A fault of this service; the next front end may do better.
            log.exception("the connection to a front end ends")
        finally:
            connection.close()
            self._room.release()

    async def _drive(self, connection: MessageSocket, first: Message) -> None:
        """Give the device to a front end until it goes."""
        session = await self._sessions.claim(f"vhost-user front end {self.path.absolute()}")
        front_end: FrontEnd | None = None
        self._driving = asyncio.current_task()
        try:
            front_end = FrontEnd(self._device.model, connection, in_band=self._in_band)
            self._device.set_state_source(lambda: front_end.state)
            # A task of its own, which ends when the session does.
            talk = asyncio.create_task(converse(front_end, connection, first))
            session.streams.add(talk)
            await asyncio.wait([talk])
            session.streams.discard(talk)
        finally:
            await self._sessions.detach(session)
            self._device.set_state_source(None)
            if front_end is not None:
                front_end.close()
            self._driving = None
        try:
            if not talk.cancelled():
                talk.result()
        finally:
            del talk  # Its error would keep this frame, and with it the front end's memory.


async def converse(front_end: FrontEnd, connection: MessageSocket, first: Message) -> None:
    """Handle messages to the end of the connection. Errors: FrontEndViolation."""
    message: Message | None = first
    while message is not None:
        try:
            await front_end.handle(message)
        finally:
            message.close()
        message = await connection.receive()
