"""A GPU service on a socket, with a driver that draws what the test wants.

The service and the driver run in a thread, so that tests, clients and commands can wait for what
they show. The socket speaks as a kernel that forwards to the GPU does.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.gpu_rig import OK, GpuDriver
from virtmesh.attach.client import AttachConnection, AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.gpu.kind import KIND
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.settings import Mode
from virtmesh.host.host import Addresses, Host
from virtmesh.testing.scripted_driver import GrpcRegisters, ScriptedDriver
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.channel import open_channel
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path

SECONDS = 30.0
RAM_BYTES = 32 << 20
PIXEL = spec.PIXEL
BGRA = spec.Format.VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM
CURSOR = 1000
"""Number of the cursor's resource."""


class DrawnScreen:
    """What the driver draws. Any thread but that of the service may call it."""

    def __init__(self, address: str, loop: asyncio.AbstractEventLoop) -> None:
        self.address = address
        self.width = self.height = 0
        self._loop = loop
        self._turn = asyncio.Lock()
        """The driver sends one command at a time."""
        self._driver: GpuDriver
        self._shown = 0
        self._backing = 0

    def show(self, width: int, height: int, pixels: bytes) -> None:
        """Show another picture."""
        self._run(self._show(width, height, pixels))

    def draw(self, x: int, y: int, width: int, height: int, pixels: bytes) -> None:
        """Draw a rectangle into the picture, and flush it."""
        self._run(self._draw((x, y, width, height), pixels))

    def show_nothing(self) -> None:
        """Take the picture away."""
        self._run(self._driver.scan_out(0, (0, 0, 0, 0)))

    def show_cursor(self, x: int, y: int, image: bytes) -> None:
        """Show a cursor: blue, green, red, alpha."""
        self._run(self._show_cursor(x, y, image))

    async def _show(self, width: int, height: int, pixels: bytes) -> None:
        self._shown += 1
        self.width, self.height = width, height
        self._backing = await self._driver.show(self._shown, width, height, pixels)

    async def _draw(self, place: tuple[int, int, int, int], pixels: bytes) -> None:
        x, y, width, height = place
        size = width * PIXEL
        for row in range(height):
            at = self._backing + ((y + row) * self.width + x) * PIXEL
            self._driver.memory.write(at, pixels[row * size : (row + 1) * size])
        offset = (y * self.width + x) * PIXEL
        assert await self._driver.transfer(self._shown, place, offset) == OK
        assert await self._driver.flush(self._shown, place) == OK

    async def _show_cursor(self, x: int, y: int, image: bytes) -> None:
        driver, side, number = self._driver, spec.CURSOR_SIDE, CURSOR
        await driver.unref(number)
        assert await driver.create(number, side, side, BGRA) == OK
        assert await driver.attach(number, [(driver.pages(image), len(image))]) == OK
        assert await driver.transfer(number, (0, 0, side, side)) == OK
        await driver.point(Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, x, y, number)

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(self._in_turn(work), self._loop).result(SECONDS)

    async def _in_turn(self, work: Coroutine[Any, Any, object]) -> None:
        async with self._turn:
            await work

    @asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[None]:
        """Serve a GPU in a folder, and attach the driver."""
        device = VirtioMmio(GpuModel("gpu0", GpuOptions(mode=Mode(64, 48))))
        handover = folder / "gpu0.sock.handover"
        host = Host(device, Addresses([self.address], handover), KIND)
        await host.start()
        try:
            with Ram(RAM_BYTES) as ram:
                doorbells = AttachmentEventfds.make(2)
                line = await AttachConnection.open(str(handover), ram, doorbells, timeout_s=10)
                async with open_channel(self.address) as channel:
                    control = device_pb2_grpc.DeviceServiceStub(channel)
                    request = device_pb2.AttachRequest(driver_name="test", ticket=line.ticket)
                    answer = await control.Attach(request)
                    registers = GrpcRegisters(channel, answer.session_id)
                    self._driver = GpuDriver(ScriptedDriver(registers, ram, doorbells))
                    await self._driver.bring_up()
                    yield
                    line.close()
                    doorbells.close()
        finally:
            await host.stop()


@contextmanager
def drawn_screen(folder: Path) -> Iterator[DrawnScreen]:
    """Serve a GPU for a while. Its socket is in the folder."""
    loop = asyncio.new_event_loop()
    screen = DrawnScreen(f"unix:{folder / 'gpu0.sock'}", loop)
    ready, over = threading.Event(), asyncio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        async with screen.serving(folder):
            ready.set()
            await over.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - the test is to see it
            failures.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, name="gpu0", daemon=True)
    thread.start()
    assert ready.wait(SECONDS)
    if failures:
        raise failures[0]
    try:
        yield screen
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(SECONDS)
    if failures:
        raise failures[0]
