"""One Inject stream: a task that reads packets, and one that writes their outcomes.

The reader stops while its client takes no responses. So a stream holds few of them: OUTBOX_MAX, and
one for each of its packets in the waiting room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.input.held_keys import InjectorState
from virtmesh.input.injection import ENDS, Offer
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import BadStream, VirtmeshError

if TYPE_CHECKING:
    from virtmesh.input.checks import Checker
    from virtmesh.input.injection import Injection

OUTBOX_MAX = 1024
"""Responses that may wait for the client before the next packet is read."""
ADDED_MAX = 2
"""Events that the kernel service adds to the packet of a client: a slot, and the end."""
BRIEF_S = 0.001
"""How long a client that wants few responses may wait to be told that a packet is accepted."""
MORE_MAX = 64
"""Most packets beside the first that one response is for."""


class InjectStream:
    """A stream of an injector. The keys it holds are released when `run` ends, however it ends."""

    def __init__(
        self, injection: Injection, checker: Checker, context: Any, *, resumes: bool = True
    ) -> None:
        """Prepare it. `resumes` says whether it may go on where another process ended."""
        self._injection = injection
        self._checker = checker
        self._context = context
        self._resumes = resumes
        self._state = InjectorState()
        self._outbox: deque[pb.InjectResponse] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._untold = 0
        """Packets whose first outcome is still to come."""
        self._unended = 0
        """Packets whose last outcome is still to come."""
        self._complete = False
        """True when the client sends no more packets."""
        self._outlives = False
        """True when the client goes on with the next process of the device."""
        self._brief = False
        """True when the client wants few responses: see Resume.brief."""
        self._late: dict[int, int] = {}
        """Packets that such a client was not told to be accepted: its numbers, and the device's."""
        self._telling: asyncio.TimerHandle | None = None
        self._failed = False
        """True when a packet was wrong: what ends packets is not waited for."""
        self._stopping = False
        """True when no more responses are written."""

    async def run(self, closing: asyncio.Future[VirtmeshError]) -> None:
        """Serve the stream until its client has sent everything and has every outcome.

        Errors: BadEvent, BadStream; what `closing` has once it is done.
        """
        reader = asyncio.create_task(self._read(), name="inject-read")
        writer = asyncio.create_task(self._write(), name="inject-write")
        ends: set[asyncio.Future[Any]] = {writer, closing}
        try:
            await asyncio.wait({reader, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                self._injection.leave(self._state)
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if closing.done():
                reader.cancel()
                await self._stop(writer)
                raise closing.result().again()
            await writer
            await reader
        finally:
            reader.cancel()
            writer.cancel()
            if self._telling is not None:
                self._telling.cancel()
            if not (self._outlives and closing.done()):
                self._injection.leave(self._state)
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _stop(self, writer: asyncio.Task[None]) -> None:
        """Release what the stream holds, and let the response under way be the last."""
        if not self._outlives:
            self._injection.leave(self._state)
        self._stopping = True
        self._news.set()
        # Not by cancelling: after a cancelled write gRPC can write nothing more, not even an error.
        await asyncio.wait({writer})

    async def _read(self) -> None:
        """Offer each packet that comes. An error ends the wait for outcomes."""
        last = -1
        try:
            while (request := await self._context.read()) is not grpc.aio.EOF:
                if request.sequence <= last:
                    raise BadStream(
                        f"packet {request.sequence} came after packet {last}: number the packets of"
                        " a stream in ascending order"
                    )
                is_first, last = last < 0, request.sequence
                if request.HasField("resume"):
                    self._resume(request, is_first=is_first)
                else:
                    await self._offer(request)
                while len(self._outbox) >= OUTBOX_MAX:
                    self._room.clear()
                    await self._room.wait()
        except VirtmeshError:
            self._failed = True
            raise
        finally:
            self._complete = True
            self._news.set()

    def _resume(self, request: pb.InjectRequest, *, is_first: bool) -> None:
        """Go on with what the driver has seen already. Errors: BadStream."""
        if not self._resumes:
            raise BadStream("resume is for the kernel service, at the service of a device")
        if not is_first or request.events:
            raise BadStream("resume comes in the first request of a stream, without events")
        self._outlives = True
        self._brief = request.resume.brief
        self._injection.adopt(self._state, self._checker.check_keys(request.resume.keys_held))
        self._respond(request.sequence, 0, pb.OUTCOME_ACCEPTED)

    async def _offer(self, request: pb.InjectRequest) -> None:
        """Offer one packet. Errors: BadEvent."""
        offer = Offer(
            self._state,
            self._checker.check(request, added=ADDED_MAX if self._outlives else 0),
            partial(self._report, request.sequence, wants_end=request.report_delivered),
            report_end=request.report_delivered,
            request=request,
        )
        self._untold += 1
        await self._injection.offer(offer, refuse=request.overflow == pb.OVERFLOW_REFUSE)

    def _report(
        self, sequence: int, number: int, outcome: pb.Outcome.ValueType, *, wants_end: bool
    ) -> None:
        """Take the outcome of a packet, and add a response unless it is to be left out."""
        if outcome in ENDS:
            self._unended -= 1
            self._late.pop(sequence, None)
        else:
            self._untold -= 1
            self._unended += wants_end and outcome == pb.OUTCOME_ACCEPTED
            if self._brief and outcome == pb.OUTCOME_ACCEPTED:
                self._late[sequence] = number
                if self._telling is None:
                    self._telling = asyncio.get_running_loop().call_later(BRIEF_S, self._tell_late)
                return
        self._respond(sequence, number, outcome)

    def _tell_late(self) -> None:
        """Tell which packets are accepted and have not come to an end meanwhile."""
        self._telling = None
        for sequence, number in self._late.items():
            self._respond(sequence, number, pb.OUTCOME_ACCEPTED)
        self._late.clear()

    def _respond(self, sequence: int, number: int, outcome: pb.Outcome.ValueType) -> None:
        """Add a response."""
        self._outbox.append(
            pb.InjectResponse(
                sequence=sequence, outcome=outcome, packet=number, waiting=self._injection.waiting
            )
        )
        self._news.set()

    def _take(self) -> pb.InjectResponse:
        """Take the next response, with those that may be put into it."""
        response, outbox = self._outbox.popleft(), self._outbox
        if self._brief:
            while outbox and outbox[0].outcome == response.outcome:
                if len(response.more) == MORE_MAX:
                    break
                response.more.append(outbox.popleft().sequence)
        return response

    def _has_more(self) -> bool:
        """Say whether there are or may come responses to write."""
        awaits_ends = self._unended > 0 and not self._failed
        return bool(self._outbox) or self._untold > 0 or awaits_ends or not self._complete

    async def _write(self) -> None:
        """Write responses until every outcome is written, or the service stops."""
        while not self._stopping and self._has_more():
            if self._outbox:
                await self._context.write(self._take())
                self._room.set()
            else:
                self._news.clear()
                await self._news.wait()
