"""GuestService: guests on serial ports, for their runners and for people."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.api.kernel.v1 import guest_pb2_grpc
from virtmesh_common.errors import BadStream, BadValue, NotOffered, VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh.kernel.guest.attached import AttachedGuest
    from virtmesh.kernel.guest.guests import Guests

SERVICE = "virtmesh.kernel.v1.GuestService"
STOP_S = 10.0
"""How long a guest may take to stop by itself, unless the caller says otherwise."""
STOP_MAX_S = 300.0
"""The longest time that a caller may give it."""
RUNNER_S = 30.0
"""How long a runner may take on top of that. It kills the guest, and starts it anew."""
LEAVE_S = 3.0
"""How long a stop waits for the port, which the last output of the guest may keep."""


class GuestService(guest_pb2_grpc.GuestServiceServicer):
    """Serves virtmesh.kernel.v1.GuestService."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests

    async def AttachGuest(  # type: ignore[override]  # the stubs know generators only
        self, request_iterator: AsyncIterator[pb.AttachGuestRequest], context: Any
    ) -> None:
        """Give a port to a guest for as long as the stream lasts."""
        if not context.peer().startswith("unix"):
            raise NotOffered(
                "AttachGuest is not offered over TCP: run the guest on the host of the machine, and"
                " use the unix socket of the kernel service"
            )
        start = await anext(aiter(request_iterator), pb.AttachGuestRequest())
        if start.WhichOneof("request") != "start":
            raise BadStream("the first message must be `start`: which guest, and which port")
        guest = self._guests.attach(start.start)
        try:
            attached = pb.Attached(serial=guest.serial, machine=self._guests.machine)
            guest.responses.put_nowait(pb.AttachGuestResponse(attached=attached))
            await _carry(guest, request_iterator, context)
        finally:
            self._guests.detach(guest)

    async def ListGuests(
        self, request: pb.ListGuestsRequest, context: Any
    ) -> pb.ListGuestsResponse:
        """List the guests."""
        return pb.ListGuestsResponse(guests=[one.guest for one in self._guests.all()])

    async def GetGuest(self, request: pb.GetGuestRequest, context: Any) -> pb.GetGuestResponse:
        """Describe a guest."""
        return pb.GetGuestResponse(guest=self._guests.find(request.serial).guest)

    async def ResetGuest(
        self, request: pb.ResetGuestRequest, context: Any
    ) -> pb.ResetGuestResponse:
        """Reset a guest."""
        guest = self._guests.find(request.serial)
        await guest.act(pb.Action(reset=pb.Reset()), RUNNER_S)
        return pb.ResetGuestResponse(guest=guest.guest)

    async def StopGuest(self, request: pb.StopGuestRequest, context: Any) -> pb.StopGuestResponse:
        """Stop a guest."""
        stop = request.stop
        seconds = stop.timeout.ToNanoseconds() / 1e9 if stop.HasField("timeout") else STOP_S
        if not 0 <= seconds <= STOP_MAX_S:
            raise BadValue(f"a time-out of {seconds:g} s: give 0 to {STOP_MAX_S:g} s")
        guest = self._guests.find(request.serial)
        action = pb.Action(stop=pb.Stop(force=stop.force))
        action.stop.timeout.FromNanoseconds(int(seconds * 1e9))
        done = await guest.act(action, seconds + RUNNER_S)
        # Whoever starts another guest now finds the port free.
        with contextlib.suppress(TimeoutError):
            async with time_limit(LEAVE_S):
                await guest.gone.wait()
        return pb.StopGuestResponse(guest=guest.guest, killed=done.killed)


async def _carry(
    guest: AttachedGuest, requests: AsyncIterator[pb.AttachGuestRequest], context: Any
) -> None:
    """Carry messages both ways until the runner half-closes. Errors: BadStream; ShuttingDown."""
    taking = asyncio.create_task(_take(guest, requests), name="messages of a runner")
    sending = asyncio.create_task(_send(guest, context), name="messages for a runner")
    try:
        done, _ = await asyncio.wait((taking, sending), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (taking, sending):
            task.cancel()
        await asyncio.gather(taking, sending, return_exceptions=True)


async def _take(guest: AttachedGuest, requests: AsyncIterator[pb.AttachGuestRequest]) -> None:
    """Take the messages of a runner, to their end."""
    async for message in requests:
        guest.take(message)


async def _send(guest: AttachedGuest, context: Any) -> None:
    """Send the messages for a runner, until there is an error in their place."""
    while True:
        message = await guest.responses.get()
        if isinstance(message, VirtmeshError):
            raise message
        await context.write(message)
