"""InputDeviceService: a kernel and scripted input devices in one process, over real sockets."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import World, failure_of, serving
from virtmesh.input.event_log import EVENTS_KEPT, EventLog
from virtmesh.input.input_device import Lives
from virtmesh.input.kernel_service import as_input_device
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.rpc.server import GRACE_SECONDS
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.testing.scripted_input import ScriptedInput
from virtmesh.virtio.device import VirtioDevice
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import kernel_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import (
    DeviceLost,
    DeviceNotFound,
    DeviceNotReady,
    MessageTooLarge,
    ShuttingDown,
    WatcherTooSlow,
    WrongKind,
)
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent

KEY, KEY_A = code_of("KEY_A")
LED, CAPSL = code_of("LED_CAPSL")
PRESS, RELEASE, SYN = (KEY, KEY_A, 1), (KEY, KEY_A, 0), (*code_of("SYN_REPORT"), 0)


def inputs(world: World) -> Any:
    """Return a stub of InputDeviceService."""
    return InputDeviceServiceStub(world.channel)


@asynccontextmanager
async def using(world: World, model: VirtioDevice) -> AsyncIterator[None]:
    """Serve a device for a while, from when the kernel uses it."""
    real = isinstance(model, InputModel)
    async with world.serve(VirtioMmio(model)) if real else world.serve_scripted(model):
        await world.ready(model.name)
        yield


async def watch(world: World, name: str = "keyboard") -> Any:
    """Watch a device, from the snapshot on."""
    stream = inputs(world).Watch(pb.WatchRequest(device=name))
    snapshot = await stream.read()
    assert not snapshot.events
    return stream


def u64(*events: tuple[int, int, int]) -> list[int]:
    """Return events as they travel."""
    return [kind << 48 | code << 32 | value for kind, code, value in events]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel of a keyboard and a disk, neither of which is there yet."""
    async with serving(tmp_path, {"keyboard": "input", "vda": "blk"}) as world:
        yield world


async def test_every_watcher_gets_every_event(world: World) -> None:
    """Events and times, and how many came; one who comes later starts from there."""
    model = ScriptedInput()
    async with using(world, model):
        first, second = await watch(world), await watch(world)
        before = time.time_ns() // 1000

        model.send(PRESS, SYN)

        for stream in (first, second):
            response = await stream.read()
            assert list(response.events) == u64(PRESS, SYN)
            assert response.sequence == 2
            assert before <= response.times_us[0] <= time.time_ns() // 1000
            assert len(response.times_us) == 2
        late = inputs(world).Watch(pb.WatchRequest(device="keyboard"))
        assert await late.read() == pb.WatchResponse(sequence=2)
        model.send(RELEASE)
        assert (await late.read()).sequence == 3


async def test_what_waits_goes_into_one_message(world: World) -> None:
    """A burst costs one message for each round of the loop, not one for each event."""
    model = ScriptedInput(queue_size_max=(1024, 64))
    async with using(world, model):
        stream = await watch(world)
        model.send(*[PRESS] * 1000)

        assert len((await stream.read()).events) == 1000


async def test_a_slow_watcher_is_cut_off_and_others_are_not(world: World) -> None:
    """The error has the number of the last event it was sent; a new watcher is welcome."""
    model = ScriptedInput()
    async with using(world, model):
        driver = as_input_device("keyboard", world.server.kernel.driver("keyboard"))
        driver.lives = Lives(EventLog(kept=16))
        slow = await watch(world)
        model.send(PRESS)
        assert (await slow.read()).sequence == 1
        model.send(*[PRESS] * 17)

        failure = await failure_of(slow.read())
        stream = await watch(world)
        model.send(RELEASE)

        assert isinstance(failure, WatcherTooSlow)
        assert failure.metadata["sequence"] == "1"
        assert list((await stream.read()).events) == u64(RELEASE)


async def test_a_watcher_that_stands_still_costs_nothing(world: World) -> None:
    """What it does not take is not queued for it: it is cut off when it goes on."""
    model = ScriptedInput(queue_size_max=(1024, 64))
    async with using(world, model):
        log = as_input_device("keyboard", world.server.kernel.driver("keyboard")).log
        still, reader = await watch(world), log.reader()
        in_transit = 4 << 20  # what gRPC takes of a stream that nobody reads
        while log.count < 3 * EVENTS_KEPT + in_transit // 16:
            await model.until_posted(1024)
            model.send(*[PRESS] * 1024)
            await reader.read()
        got = 0

        async def go_on() -> None:
            nonlocal got
            while response := await still.read():
                got += len(response.events)

        failure = await failure_of(go_on())
        assert isinstance(failure, WatcherTooSlow)
        assert failure.metadata["sequence"] == str(got)


async def test_lights_are_set(world: World) -> None:
    """SetLed is an order on the status queue; a light that is not there is an error."""
    model = ScriptedInput()
    async with using(world, model):
        await inputs(world).SetLed(pb.SetLedRequest(device="keyboard", led=CAPSL, on=True))
        failure = await failure_of(
            inputs(world).SetLed(pb.SetLedRequest(device="keyboard", led=9, on=True))
        )

        assert model.orders == [(LED, CAPSL, 1)]
        assert isinstance(failure, BadEvent)
        assert "its lights are: LED_NUML, LED_CAPSL" in failure.message


async def test_the_wrong_device_is_refused(world: World) -> None:
    """One that is not there, one that is not up, and one that is no input device."""
    async with using(world, ScriptedDisk()):
        for name, error, why in (
            ("mouse", DeviceNotFound, "test has no device 'mouse'"),
            ("keyboard", DeviceNotReady, "keyboard is not ready"),
            ("vda", WrongKind, "vda is no input device: it is driven by VirtIOBlk"),
        ):
            failure = await failure_of(watch(world, name))
            assert type(failure) is error
            assert why in failure.message


async def test_watchers_learn_that_the_device_is_lost(world: World) -> None:
    """First what came, then DeviceLost; when the device is back, its events are counted on."""
    model = ScriptedInput()
    async with using(world, model):
        stream = await watch(world)
        model.send(PRESS)
        await stream.read()
    assert isinstance(await failure_of(stream.read()), DeviceLost)

    again = ScriptedInput()
    async with using(world, again):
        stream = await watch(world)
        again.send(RELEASE)
        assert (await stream.read()).sequence == 2


async def test_watchers_do_not_hold_the_kernel_up(world: World) -> None:
    """A kernel that stops ends the streams at once and says why."""
    async with using(world, ScriptedInput()):
        stream = await watch(world)
        stopping = asyncio.create_task(world.server.stop())

        assert isinstance(await failure_of(stream.read()), ShuttingDown)
        await stopping


async def test_streams_to_a_device_do_not_hold_the_kernel_up(world: World) -> None:
    """Those are ended as well; what an injector held is released."""
    model = InputModel("keyboard", InputOptions("keyboard"), load("keyboard"))
    async with using(world, model):
        device: Any = InputServiceStub(world.channel)
        inject = device.Inject(metadata=((DEVICE_KEY, "keyboard"),))
        press = input_pb2.Event(type=KEY, code=KEY_A, value=1)
        await inject.write(input_pb2.InjectRequest(sequence=1, events=[press]))
        await inject.read()
        lights = device.WatchOutput(
            input_pb2.WatchOutputRequest(), metadata=((DEVICE_KEY, "keyboard"),)
        )
        await lights.read()
        async with asyncio.timeout(GRACE_SECONDS / 2):
            stopping = asyncio.create_task(world.server.stop())

            assert isinstance(await failure_of(inject.read()), ShuttingDown)
            assert isinstance(await failure_of(lights.read()), ShuttingDown)
            await stopping
        assert model.injection.release_all() == []


async def test_input_devices_are_listed_and_counted(world: World) -> None:
    """ListDevices and the metrics know them."""
    model = ScriptedInput()
    async with using(world, model):
        stream = await watch(world)
        model.send(PRESS, SYN)
        await stream.read()
        kernel: Any = KernelServiceStub(world.channel)
        listed = await kernel.ListDevices(kernel_pb2.ListDevicesRequest())
        address = f"http://{world.server.metrics_address}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read().decode())

        keyboard = listed.devices[0]
        assert (keyboard.virtio_device_id, keyboard.driver) == (18, "VirtIOInput")
        assert keyboard.requests == 2
        assert 'virtmesh_kernel_input_events_total{device="keyboard",machine="test"} 2.0' in page


async def test_a_forwarded_message_that_is_too_large_is_refused_with_its_size(
    tmp_path: Path,
) -> None:
    """By the kernel as by the device itself: gRPC would only say that the call was given up."""
    device = InputModel("keyboard", InputOptions("keyboard"), load("keyboard"))
    stub: Any = InputServiceStub
    async with serving(tmp_path, {"keyboard": "input"}) as world, using(world, device):

        async def requests() -> AsyncIterator[input_pb2.InjectRequest]:
            event = input_pb2.Event(type=KEY, code=KEY_A, value=1)
            yield input_pb2.InjectRequest(events=[event] * 20_000)

        call = stub(world.channel).Inject(requests(), metadata=((DEVICE_KEY, "keyboard"),))
        failure = await failure_of(call.read())
        assert isinstance(failure, MessageTooLarge)
        assert "65536" in failure.message
