"""InputService: injecting input and watching lights (virtmesh.input.v1)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from virtmesh.input.checks import Checker
from virtmesh.input.stream import InjectStream
from virtmesh.input.unary_calls import UnaryCalls
from virtmesh.input.unary_scripts import (
    check_type,
    click_script,
    key_script,
    move_script,
    type_script,
)
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1 import input_pb2_grpc
from virtmesh_common.errors import ShuttingDown, VirtmeshError
from virtmesh_common.input.errors import TypingUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from virtmesh.input.model import InputModel
    from virtmesh.input.output import Sent
    from virtmesh_common.input.script import Script

SERVICE = "virtmesh.input.v1.InputService"


class InputService(input_pb2_grpc.InputServiceServicer):
    """The service of one device."""

    name = SERVICE

    def __init__(self, model: InputModel) -> None:
        self._model = model
        self._checker = Checker(model.name, model.personality)
        self._closing: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self._calls = UnaryCalls(model, self._checker, self._closing)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        input_pb2_grpc.add_InputServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """End every stream: the device service is stopping."""
        if not self._closing.done():
            self._closing.set_result(ShuttingDown("the device service is stopping"))
        self._model.output.wake_watchers()

    async def GetInfo(
        self, request: pb.GetInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetInfoResponse:
        """Describe the device."""
        model = self._model
        personality = model.personality
        return pb.GetInfoResponse(
            name=model.text,
            serial=model.options.serial,
            ids=personality.ids,
            personality=personality.kind,
            properties=personality.properties,
            capabilities=[
                pb.Capability(type=kind, codes=codes) for kind, codes in personality.codes.items()
            ],
            axes=[
                pb.Axis(
                    code=code,
                    minimum=axis.minimum,
                    maximum=axis.maximum,
                    fuzz=axis.fuzz,
                    flat=axis.flat,
                    resolution=axis.resolution,
                )
                for code, axis in personality.axes.items()
            ],
            leds_on=model.output.leds_on,
            keys_held=model.injection.keys_held,
            waiting_max=model.options.waiting,
        )

    async def Inject(  # type: ignore[override]  # the stubs know generators only
        self,
        request_iterator: AsyncIterator[pb.InjectRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Take packets, and report the outcomes of each."""
        await InjectStream(self._model.injection, self._checker, context).run(self._closing)

    async def Type(
        self, request: pb.TypeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.TypeResponse:
        """Type a text with a keyboard layout."""

        async def make() -> Script:
            keyboard = check_type(request, self._model)
            try:
                return await self._calls.plan(partial(type_script, request, keyboard))
            except TypingUnavailable as error:
                raise TypingUnavailable(
                    f"the service of {self._model.name} can't type: {error.message}"
                ) from None

        return pb.TypeResponse(sent=await self._calls.run(make, request.sending))

    async def Key(
        self, request: pb.KeyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.KeyResponse:
        """Press and release keys and chords."""

        async def make() -> Script:
            return key_script(request)

        return pb.KeyResponse(sent=await self._calls.run(make, request.sending))

    async def Click(
        self, request: pb.ClickRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ClickResponse:
        """Click a button, at a point if one is given."""

        async def make() -> Script:
            return click_script(request, self._model)

        return pb.ClickResponse(sent=await self._calls.run(make, request.sending))

    async def Move(
        self, request: pb.MoveRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.MoveResponse:
        """Move the pointer by a distance or to a point."""

        async def make() -> Script:
            return move_script(request, self._model)

        return pb.MoveResponse(sent=await self._calls.run(make, request.sending))

    async def ReleaseAll(
        self, request: pb.ReleaseAllRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReleaseAllResponse:
        """Release every key and touch, whoever holds it."""
        return pb.ReleaseAllResponse(keys=self._model.injection.release_all())

    async def WatchOutput(  # type: ignore[override]  # as for Inject
        self, request: pb.WatchOutputRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Stream what the driver sends: a snapshot, then each packet."""
        output = self._model.output
        with output.watching() as watcher:
            await context.write(
                pb.WatchOutputResponse(sequence=output.packets, leds_on=output.leds_on)
            )
            while not self._closing.done():
                sent = await watcher.read()
                if sent is not None:
                    await context.write(to_message(sent))
        raise self._closing.result().again()

    async def GetStats(
        self, request: pb.GetStatsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatsResponse:
        """Return the counters."""
        injection, output = self._model.injection, self._model.output
        return pb.GetStatsResponse(
            packets_accepted=injection.accepted,
            packets_delivered=injection.delivered,
            packets_refused=injection.refused,
            packets_lost=injection.lost,
            packets_waiting=injection.waiting,
            packets_split=injection.split,
            events_accepted=injection.events_accepted,
            events_delivered=injection.events_delivered,
            events_output=output.events,
            malformed=sum(one.malformed for one in self._model.counters),
        )


def to_message(sent: Sent) -> pb.WatchOutputResponse:
    """Put a packet of the driver into a message."""
    return pb.WatchOutputResponse(
        sequence=sent.sequence,
        events=[pb.Event(type=kind, code=code, value=value) for kind, code, value in sent.events],
        leds_on=sent.leds_on,
    )
