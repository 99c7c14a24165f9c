"""The vhost-user socket of a device: serves one front end after the other.

A front end holds the device from its first message to the end of its connection; the next one waits
until then. While another driver is attached, front ends are refused.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import structlog

from virtmesh.rpc.peers import OWN_USER
from virtmesh.rpc.strangers import hang_up, has_room, peer_of, who_leaves
from virtmesh.rpc.unix_listener import ACCEPT_PAUSE_SECONDS, UnixListener
from virtmesh.vhost_user.connection import FrontEnd
from virtmesh.vhost_user.framing import MessageSocket
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from virtmesh.attach.sessions import Sessions
    from virtmesh.mmio.device import DeviceState
    from virtmesh.mmio.quirks import Quirks
    from virtmesh.rpc.strangers import Peer
    from virtmesh.vhost_user.framing import Message
    from virtmesh.vhost_user.offer import Offer
    from virtmesh.virtio.device import VirtioDevice

log = structlog.get_logger(__name__)

FIRST_MESSAGE_SECONDS = 30.0
"""Time in which the first message must arrive."""
CONNECTIONS_MAX = 8
"""Most connections that do not have the device yet; each one holds descriptors of this process."""


@runtime_checkable
class ReportsState(Protocol):
    """A device whose model another transport can drive while it holds the device."""

    quirks: Quirks

    @property
    def model(self) -> VirtioDevice:
        """The model."""

    def set_state_source(self, state: Callable[[], DeviceState] | None) -> None:
        """Set who reports the state instead of this device; None: the device itself."""


class VhostUserServer:
    """One listening unix stream socket."""

    def __init__(self, path: Path, device: ReportsState, sessions: Sessions, offer: Offer) -> None:
        self.path = path
        self.peers = OWN_USER
        """Whose processes may be front ends."""
        self._device = device
        self._sessions = sessions
        self._offer = offer
        self._listener: UnixListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """The task that accepts connections, and one for each connection."""
        self._waiting: dict[asyncio.Task[None], Peer] = {}
        """Connections that do not have the device, in the order in which they came."""
        self._turn = asyncio.Lock()
        """Held by the connection that drives the device."""
        self._driving: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Begin to accept front ends. Errors: AddressTaken."""
        self._listener = UnixListener(self.path, option="--vhost-user")
        self._begin(self._serve(self._listener))

    async def close(self) -> None:
        """Accept no more front ends, and remove the socket. The sessions must be closed."""
        if self._listener is None:
            return
        self._listener.remove()
        for task in self._tasks:
            if task is not self._driving:  # It ends by itself, because its session has ended.
                task.cancel()
        await asyncio.wait(self._tasks)
        self._listener.close()
        self._listener = None

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a coroutine in a task."""
        task = asyncio.create_task(work, name="vhost-user")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _wait(self, connection: socket.socket) -> None:
        """Let a connection wait for the device. If too many do, one of who has most leaves."""
        peer = peer_of(connection)
        messages = MessageSocket(connection)
        task = self._begin(self._serve_one(messages))
        self._waiting[task] = peer

        def end(_: object) -> None:
            """Close it, also if the task was cancelled before it began."""
            self._waiting.pop(task, None)
            messages.close()

        task.add_done_callback(end)
        if len(self._waiting) > CONNECTIONS_MAX:
            leaves = list(self._waiting)[who_leaves(list(self._waiting.values()))]
            process = self._waiting.pop(leaves).process
            log.warning("too many front ends wait: one leaves", process=process)
            leaves.cancel()

    async def _serve(self, listener: UnixListener) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener.socket)
            except OSError as error:
                log.warning("can't accept a front end", error=os.strerror(error.errno or 0))
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            self._admit(connection)
            await asyncio.sleep(listener.rest_seconds())

    def _admit(self, connection: socket.socket) -> None:
        """Let a connection wait for the device, unless it is a stranger's."""
        refusal = self.peers.refusal(connection)
        if refusal is not None:
            log.warning("refused a front end", reason=refusal.reason, message=refusal.message)
            hang_up(connection)
        elif has_room():
            self._wait(connection)
        else:
            log.warning("descriptors of strangers can't be closed: no front end is taken")
            hang_up(connection)

    async def _serve_one(self, connection: MessageSocket) -> None:
        """Serve a connection to its end."""
        try:
            async with time_limit(FIRST_MESSAGE_SECONDS):
                message = await connection.receive()
            if message is not None:
                with closing(message):
                    async with self._turn:
                        self._waiting.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
                        await self._drive(connection, message)
        except TimeoutError:
            log.warning("a front end sent no message", seconds=FIRST_MESSAGE_SECONDS)
        except VirtmeshError as error:
            log.warning("the connection to a front end ends", reason=error.message)
        except Exception:
            # A fault of this service. The next front end may not cause it.
            log.exception("the connection to a front end ends")

    async def _drive(self, connection: MessageSocket, first: Message) -> None:
        """Let a front end drive the device until its connection ends."""
        session = await self._sessions.claim(f"vhost-user front end {self.path.absolute()}")
        front_end: FrontEnd | None = None
        self._driving = asyncio.current_task()
        try:
            front_end = FrontEnd(self._device.model, connection, self._device.quirks, self._offer)
            self._device.set_state_source(lambda: front_end.state)
            # A task of its own, which ends when the session does.
            talk = asyncio.create_task(converse(front_end, connection, first))
            session.streams.add(talk)
            await asyncio.wait([talk])
            session.streams.discard(talk)
        finally:
            await self._sessions.release(session)
            self._device.set_state_source(None)
            if front_end is not None:
                front_end.close()
            self._driving = None
        try:
            if not talk.cancelled():
                talk.result()
        finally:
            del talk  # Its traceback would keep this frame, and the front end's memory, alive.


async def converse(front_end: FrontEnd, connection: MessageSocket, first: Message) -> None:
    """Handle messages to the end of the connection. Errors: FrontEndViolation."""
    message: Message | None = first
    while message is not None:
        try:
            await front_end.handle(message)
        finally:
            message.close()
        message = await connection.receive()
