"""The unary calls of InputService: each is an injector that lives as long as the call.

A call sends its packets one by one, at their times, and takes its turn like any stream: it waits
for room with the others, and leaves the event loop to them now and then. What it holds when it
ends, by an error, a deadline or a client that is gone, is released.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from virtmesh.input.held_keys import InjectorState
from virtmesh.input.injection import Offer
from virtmesh.rpc.budgets import account
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import DeviceNotReady
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import to_messages
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from virtmesh.input.checks import Checker
    from virtmesh.input.model import InputModel
    from virtmesh_common.errors import VirtmeshError
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.script import Script

SECONDS_MAX = 120.0
"""The longest time of a call, the wait for room and for the driver included."""
PACKETS_PER_TURN = 32
"""Packets that a call offers before others have the event loop."""


class UnaryCalls:
    """The unary calls of one device."""

    def __init__(
        self, model: InputModel, checker: Checker, closing: asyncio.Future[VirtmeshError]
    ) -> None:
        self._model = model
        self._checker = checker
        self._closing = closing
        self._planning = asyncio.Lock()

    async def run(self, make: Callable[[], Awaitable[Script]], sending: pb.Sending) -> pb.Sent:
        """Make a script, send it, and say what became of its packets.

        Errors: those of `make`; BadEvent, before anything is sent; DeviceNotReady; ShuttingDown.
        """
        if sending.overflow not in pb.Overflow.values():
            raise BadEvent(f"overflow is {sending.overflow}: choose a value of Overflow")
        with account().hold("input-scripts"):
            return await self._run(make, sending)

    async def _run(self, make: Callable[[], Awaitable[Script]], sending: pb.Sending) -> pb.Sent:
        """Run a call that is counted. Errors: as `run`."""
        call = UnaryCall(self._model, self._checker, sending)
        task = asyncio.create_task(call.run(make), name="input-call")
        ends: set[asyncio.Future[Any]] = {task, self._closing}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise self._closing.result().again()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def plan(self, make: Callable[[], Script]) -> Script:
        """Make a script on a thread, one at a time: a text may take seconds of processor time.

        A thread can't be cancelled: when the call is, the next one waits until its thread ends.
        """

        def ended(planned: asyncio.Future[Script]) -> None:
            self._planning.release()
            if not planned.cancelled():
                planned.exception()  # nobody may be there any more to take it

        await self._planning.acquire()
        planned = asyncio.ensure_future(asyncio.to_thread(make))
        planned.add_done_callback(ended)
        return await asyncio.shield(planned)


class UnaryCall:
    """One call: an injector that ends with it."""

    def __init__(self, model: InputModel, checker: Checker, sending: pb.Sending) -> None:
        self._name = model.name
        self._injection = model.injection
        self._checker = checker
        self._sending = sending
        self._state = InjectorState()
        self._packets: list[pb.SentPacket] = []
        self._accepted = 0
        self._unended = 0
        self._news = asyncio.Event()

    async def run(self, make: Callable[[], Awaitable[Script]]) -> pb.Sent:
        """Send the packets of a script at their times. Errors: BadEvent; DeviceNotReady."""
        try:
            async with time_limit(SECONDS_MAX):
                script = await make()
                offers = [(moment, self._offer_of(packet)) for moment, packet in script]
                await self._send(offers)
                while self._unended:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DeviceNotReady(
                f"{self._name} took {self._accepted} packets in {SECONDS_MAX:g} s and no more:"
                " does a driver read its events?",
                accepted=self._accepted,
            ) from None
        finally:
            self._injection.leave(self._state)
        return pb.Sent(packets=self._packets, waiting=self._injection.waiting)

    async def _send(self, offers: list[tuple[float, Offer]]) -> None:
        """Offer each packet at its time since the start, so that delays do not add up."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        refuse = self._sending.overflow == pb.OVERFLOW_REFUSE
        for index, (moment, offer) in enumerate(offers):
            left = start + moment - loop.time()
            if left > 0 or index % PACKETS_PER_TURN == PACKETS_PER_TURN - 1:
                await asyncio.sleep(max(left, 0.0))
            await self._injection.offer(offer, refuse=refuse)

    def _offer_of(self, packet: Packet) -> Offer:
        """Check a packet. Errors: BadEvent."""
        number = len(self._packets)
        request = pb.InjectRequest(sequence=number, events=to_messages(packet))
        self._packets.append(pb.SentPacket(events=len(packet)))
        return Offer(
            self._state,
            self._checker.check(request),
            partial(self._report, number),
            report_end=self._sending.wait_delivered,
        )

    def _report(self, index: int, number: int, outcome: pb.Outcome.ValueType) -> None:
        """Note the outcome of a packet."""
        sent = self._packets[index]
        sent.outcome, sent.packet = outcome, number
        if outcome == pb.OUTCOME_ACCEPTED:
            self._accepted += 1
            self._unended += self._sending.wait_delivered
        elif outcome in {pb.OUTCOME_DELIVERED, pb.OUTCOME_LOST}:
            self._unended -= 1
            self._news.set()
