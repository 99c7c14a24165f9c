"""An input device for as long as the machine has it, for injectors: see relayed.py and tape.py.

Injectors have their streams here, and their packets, keys and touches. One stream goes to the
process that the device has now; it begins with the keys that the driver has seen pressed, so that
they are held there as well. While there is no process, packets wait here, and injectors wait as
long as their patience (`retry_for`) lasts. What was accepted of an injector that has lost it stays
accepted, and its keys are released behind that.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.input.checks import Checker
from virtmesh.input.held_keys import HeldKeys
from virtmesh.input.relayed import RelayedInjection
from virtmesh.input.stream import InjectStream
from virtmesh.input.tape import Tape
from virtmesh.input.told import Told
from virtmesh.kinds.lasting import ANSWER_S, LastingDevice
from virtmesh.kinds.link_writer import LinkWriter
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.errors import DeviceLost, DeviceNotReady, ShuttingDown, VirtmeshError
from virtmesh_common.input.release import ABS_MT_SLOT, resting_values
from virtmesh_common.sent_status import keep_sent_status
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.input.driver import VirtIOInput
    from virtmesh.kinds.relay import TypedContext
    from virtmesh.kinds.service import DriverOfDevice

INJECT = "/virtmesh.input.v1.InputService/Inject"

SKIP_AT = 256
"""Packets that came through after which the tape is read on."""


class LastingInput(LastingDevice["VirtIOInput"]):
    """One input device."""

    def __init__(
        self, name: str, device: DriverOfDevice, channel: Callable[[], grpc.aio.Channel]
    ) -> None:
        super().__init__(name, device, channel)
        self._tape: Tape | None = None
        self._told: Told | None = None
        self._checker: Checker | None = None
        self._injection = RelayedInjection(HeldKeys(has_slots=False), 1)
        self._needed, self._news = asyncio.Event(), asyncio.Event()
        self._endings: set[asyncio.Future[VirtmeshError]] = set()
        self._stopping = False

    def came(self, driver: VirtIOInput) -> None:
        """Take a driver of the device, which is in use."""
        self._tape = self._tape or Tape(driver.log)
        super().came(driver)

    def stop(self) -> None:
        """End the streams of injectors: the kernel service stops."""
        self._stopping = True
        self._end_all(ShuttingDown("the kernel service is stopping"))

    # -- Injectors --------------------------------------------------------------------------------

    async def inject(self, context: TypedContext) -> None:
        """Serve an injector. Errors: as InputService.Inject; DeviceLost; DeviceNotReady."""
        checker = await self._know(context.retry_for)
        ending: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self._endings.add(ending)
        patience = asyncio.create_task(self._wait_for(context.retry_for, ending))
        try:
            stream = InjectStream(self._injection, checker, context, resumes=False)
            await stream.run(ending)
        finally:
            self._endings.discard(ending)
            patience.cancel()

    async def stats(self, context: TypedContext) -> None:
        """Answer GetStats: what became of packets in all lives. Errors: DeviceNotReady."""
        await context.read()
        stats = pb.GetStatsResponse()
        if not self._away.is_set():
            with suppress(grpc.aio.AioRpcError):
                stats = await InputServiceStub(self._channel()).GetStats(
                    pb.GetStatsRequest(), timeout=ANSWER_S
                )
        injection, before = self._injection, self._injection.before
        stats.packets_accepted += before.delivered + before.lost + injection.unsent
        stats.packets_delivered += before.delivered
        stats.packets_lost += before.lost
        stats.packets_waiting += injection.unsent
        stats.packets_refused += injection.refused
        stats.events_accepted += before.events_delivered
        stats.events_delivered += before.events_delivered
        await context.write(stats)

    async def release_all(self, context: TypedContext) -> None:
        """Answer ReleaseAll, of injectors here and elsewhere. Errors: DeviceNotReady."""
        await context.read()
        self._needed.set()
        keys = self._injection.release_all()
        await self._until(self._linked, context.retry_for)
        # What is sent here first is done there first: the stream is older than the call.
        with suppress(TimeoutError):
            async with time_limit(ANSWER_S):
                while self._injection.unsent or self._injection.waiting:
                    self._news.clear()
                    await self._news.wait()
        stub = InputServiceStub(self._channel())
        others = await stub.ReleaseAll(pb.ReleaseAllRequest(), timeout=ANSWER_S)
        await context.write(pb.ReleaseAllResponse(keys=sorted({*keys, *others.keys})))

    async def _know(self, retry_for: float) -> Checker:
        """Return what checks packets, as soon as the device has said what it is.

        Errors: DeviceNotReady.
        """
        self._needed.set()
        if self._stopping:
            raise ShuttingDown("the kernel service is stopping")
        if self._checker is None or self._away.is_set():
            await self._until(self._linked, retry_for)
        if self._checker is None:
            raise self._lost()
        return self._checker

    async def _until(self, event: asyncio.Event, retry_for: float) -> None:
        """Wait for an event as patience has it, and for a device in use. Errors: DeviceNotReady."""
        is_here = not self._away.is_set() and not self._device.comes_back
        try:
            async with time_limit(max(retry_for, ANSWER_S if is_here else 0.0)):
                await event.wait()
        except TimeoutError:
            raise DeviceNotReady(f"{self.name} is not ready: {self._why()}") from None

    async def _wait_for(self, retry_for: float, ending: asyncio.Future[VirtmeshError]) -> None:
        """End an injector's stream once the device is away for longer than its patience."""
        await self._lose_patience(retry_for)
        if not ending.done():
            ending.set_result(self._lost())

    def _lost(self) -> DeviceLost:
        return DeviceLost(f"{self.name} was lost: {self._why()}", device=self.name)

    def _why(self) -> str:
        """Return why there is no process."""
        driver = self._driver
        if driver is not None and driver.failed.done():
            return driver.failed.result().message
        return "its service does not answer"

    def _end_all(self, error: VirtmeshError) -> None:
        for ending in self._endings:
            if not ending.done():
                ending.set_result(error)

    # -- The process of the device ----------------------------------------------------------------

    async def _until_needed(self) -> None:
        await self._needed.wait()

    async def _serve(self) -> None:
        """Give packets to the process until its stream ends. Errors: AioRpcError; VirtmeshError."""
        stub = InputServiceStub(self._channel())
        self._learn(Told(await stub.GetInfo(pb.GetInfoRequest(), timeout=ANSWER_S)))
        assert self._tape is not None  # noqa: S101 - there is a driver
        self._tape.begin()
        held = sorted(self._tape.down.intersection(self._injection.keys_held))
        call: Any = self._channel().stream_stream(
            INJECT, response_deserializer=pb.InjectResponse.FromString
        )()
        keep_sent_status(call)
        writer = LinkWriter[bytes](call)
        resume = pb.Resume(keys_held=held, brief=True)
        writer.send(pb.InjectRequest(resume=resume).SerializeToString())
        try:
            async with time_limit(ANSWER_S):
                first = await call.read()
            if first is grpc.aio.EOF:
                return
            self._injection.link(writer.send)
            self._away.clear()
            self._linked.set()
            while (response := await call.read()) is not grpc.aio.EOF:
                self._take(response)
        finally:
            self._injection.unlink()
            call.cancel()
            await writer.close()

    def _take(self, response: pb.InjectResponse) -> None:
        """Take an answer of the process."""
        injection = self._injection
        injection.answer(response)
        if injection.confirmed >= SKIP_AT and self._tape is not None:
            injection.confirmed -= self._tape.skip(injection.confirmed)
        self._news.set()

    def _learn(self, told: Told) -> None:
        """Take what the device says of itself."""
        if self._told is not None and self._told.is_same(told):
            return
        if self._told is not None:
            self._injection.drop_all()
            self._end_all(DeviceLost(f"{self.name} came back as another device", device=self.name))
        keys = HeldKeys(
            has_slots=ABS_MT_SLOT in told.personality.axes,
            resting=resting_values(told.personality.axes),
        )
        self._told, self._injection = told, RelayedInjection(keys, told.waiting_max)
        self._checker = Checker(self.name, told.personality)

    def _conclude(self, driver: VirtIOInput) -> None:
        """Find out what came through of what a process had that has gone."""
        tape, injection = self._tape, self._injection
        if tape is None:
            return
        has_gone = driver.failed.done()
        skipped = tape.skip(injection.confirmed) == injection.confirmed
        received = tape.rest()
        resumed, unknown = injection.resumed, injection.unknown
        is_known = injection.conclude(received, tape.down, provable=has_gone and skipped)
        if not is_known:
            driver.log.mark_gap()
        driver.lives.resumed += injection.resumed - resumed
        driver.lives.lost += injection.unknown - unknown
        self._device.resubmitted += injection.resumed - resumed
        self._news.set()
