"""Serves the register channel of an attached driver (virtmesh.memory.v1, handover.proto).

After an answer, the next request is awaited for a moment without the event loop: a driver that
accesses register after register pays a wait in the kernel for each, as over a bare socket, and no
turn of the loop. Two bounds keep the loop's other work going. Requests are served for TURN_NS, and
then the loop has a turn; and if that took longer, nothing is awaited until the next turn.

Input is hostile. A driver that does not read its answers is not read from; a malformed packet ends
the connection, and with it the session.

Invariant: the connection is watched for requests (a reader), or for room (a writer) while an answer
is kept, or a task completes a batch and will watch it again. Never two of these at once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic_ns
from typing import TYPE_CHECKING

import structlog
from virtmesh_native import RegisterChannel

from virtmesh.attach.sessions import SESSION_ENDED
from virtmesh_common.errors import BadStream, NotAttached

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_native import Interrupt

    from virtmesh.attach.sessions import Session
    from virtmesh.host.dispatcher import Batch, RegisterDispatcher

log = structlog.get_logger(__name__)

WAIT_US = 50
"""How long the next request is awaited without the event loop, in microseconds. A guest that copies
its console, or probes a device, comes back sooner; a turn of the loop costs about half of it."""
TURN_NS = 500_000
"""How long requests are served in one turn of the event loop, in nanoseconds."""


class ChannelServer:
    """Serves the register channel of one session, on a descriptor that it does not own.

    `hang_up` closes the connection, and this with it.
    """

    def __init__(
        self,
        descriptor: int,
        session: Session,
        interrupt: Interrupt,
        dispatcher: RegisterDispatcher,
        hang_up: Callable[[], None],
    ) -> None:
        self._descriptor = descriptor
        self._session = session
        self._dispatcher = dispatcher
        self._hang_up = hang_up
        self._channel = RegisterChannel(descriptor, interrupt)
        self._loop = asyncio.get_running_loop()
        self._left_ns = 0
        """When the last turn ended."""
        self._closed = False
        self._listen()

    def close(self) -> None:
        """Stop serving. The connection is closed after this."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._channel.close()

    def _listen(self) -> None:
        """Serve requests from now on."""
        if not self._closed:
            self._loop.add_reader(self._descriptor, self._serve)

    def _serve(self) -> None:
        """Serve a turn: the requests that have come, and those that follow an answer soon."""
        begun = monotonic_ns()
        wait = WAIT_US if begun - self._left_ns < TURN_NS or not self._left_ns else 0
        longest = 0
        with _Guard(self):
            while (request := self._channel.receive(longest)) is not None:
                if not self._execute(*request) or monotonic_ns() - begun > TURN_NS:
                    break
                longest = wait
        self._left_ns = monotonic_ns()

    def _execute(self, tag: int, offsets: list[int], ops: list[int], values: list[int]) -> bool:
        """Execute a request. Returns whether the next one may be received."""
        self._check()
        batch = self._dispatcher.execute(offsets, ops, values)
        if not batch.done.unfinished:
            return self._answer(tag, batch)
        self._channel.set_executing(None)  # Others are served meanwhile.
        self._loop.remove_reader(self._descriptor)
        task: asyncio.Task[object] = asyncio.create_task(
            self._complete(tag, batch), name="register channel"
        )
        self._session.streams.add(task)  # The end of the session cancels it.
        task.add_done_callback(self._session.streams.discard)
        return False

    async def _complete(self, tag: int, batch: Batch) -> None:
        """Wait for the resets and turns of a batch, answer it, and go on."""
        with _Guard(self):
            await self._dispatcher.complete(batch, partial(self._resume, tag))
            if self._answer(tag, batch):
                self._listen()

    def _answer(self, tag: int, batch: Batch) -> bool:
        """Answer a batch. Returns whether the next request may be received."""
        error = batch.done.error
        refused = None if error is None else (error.reason, error.message)
        if self._channel.answer(tag, batch.done.values, refused):
            return True
        self._loop.remove_reader(self._descriptor)
        self._loop.add_writer(self._descriptor, self._flush)
        return False

    def _flush(self) -> None:
        """Send the answer that is kept, now that there is room for it."""
        with _Guard(self):
            if self._channel.flush():
                self._loop.remove_writer(self._descriptor)
                self._listen()

    def _check(self) -> None:
        """Check that the driver may use the device. Errors: NotAttached."""
        if self._session.ended:
            raise NotAttached(SESSION_ENDED)

    def _resume(self, tag: int) -> None:
        """Go on with a request after a wait, in which nothing was received.

        Errors: NotAttached; ConnectionError.
        """
        self._check()
        if self._channel.ended:
            raise ConnectionError("the driver closed its end of the connection")
        self._channel.set_executing(tag)

    def end(self, failure: BaseException) -> None:
        """End the connection, for what went wrong."""
        if self._closed:
            return
        driver = self._session.driver_name
        match failure:
            case ConnectionError() | NotAttached():
                pass  # Sessions logs that the driver has gone.
            case BadStream():
                log.warning(
                    "the register channel ends: a driver broke its protocol",
                    driver=driver,
                    reason=failure.reason,
                    message=failure.message,
                )
            case _:
                log.error("a fault of the register channel", driver=driver, exc_info=failure)
        self._hang_up()


class _Guard:
    """Ends the connection when the body fails. Cancelling goes through."""

    def __init__(self, server: ChannelServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> bool:
        if not isinstance(failure, Exception):
            return False
        self._server.end(failure)
        return True
