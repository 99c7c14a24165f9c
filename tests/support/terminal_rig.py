"""Someone at the screen of a machine: services of its devices, a kernel, and no guest.

All in this process, over real sockets. What is on the screen is what a viewer of DisplayService
gets, read by the glyphs of the terminal's font.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.display_viewer import Viewer
from tests.support.world import World, serving
from virtmesh.gpu.gpu_device import GpuDevice
from virtmesh.gpu.model import GpuModel
from virtmesh.gpu.settings import GpuOptions, Mode
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.testing.screen_text import read_screen
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.display.v1 import display_pb2
from virtmesh_common.api.display.v1.display_pb2_grpc import DisplayServiceStub
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from virtmesh.host.host import Host

PROMPT = "virtmesh>"
SECONDS = 30.0
"""Longest wait for what is to be seen."""
MODE = Mode(640, 400)
INPUTS = ("keyboard", "mouse", "tablet")
DELIVERED = input_pb2.Sending(wait_delivered=True)


def make_input(name: str) -> InputModel:
    """Make an input device that is called as its personality."""
    return InputModel(name, InputOptions(name), load(name))


class TerminalRig:
    """Someone who types, moves and looks. `view` begins to look."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.inputs = {name: make_input(name) for name in INPUTS}
        self.viewer = Viewer(None)

    def screen(self, name: str = "gpu", mode: Mode = MODE) -> AbstractAsyncContextManager[Host]:
        """Serve a GPU for a while."""
        return self.world.serve(VirtioMmio(GpuModel(name, GpuOptions(mode=mode))))

    @asynccontextmanager
    async def served(self, *names: str) -> AsyncIterator[None]:
        """Serve input devices for a while, from when the kernel uses them."""
        if not names:
            yield
            return
        async with self.world.serve(VirtioMmio(self.inputs[names[0]])):
            await self.world.ready(names[0])
            async with self.served(*names[1:]):
                yield

    def display(self, name: str = "gpu") -> Any:
        """Return a stub of DisplayService, and what calls of a GPU need."""
        return DisplayServiceStub(self.world.channel), [(DEVICE_KEY, name)]

    def view(self, name: str = "gpu") -> None:
        """Begin to look at a screen."""
        stub, metadata = self.display(name)
        self.viewer = Viewer(stub.Watch(display_pb2.WatchRequest(), metadata=metadata))

    async def set_mode(self, width: int, height: int) -> None:
        """Have the screen prefer another mode."""
        stub, metadata = self.display()
        await stub.SetMode(
            display_pb2.SetModeRequest(width=width, height=height), metadata=metadata
        )

    def driver(self, name: str = "gpu") -> GpuDevice:
        """Return the kernel's driver of a GPU."""
        driver = self.world.server.kernel.driver(name)
        assert isinstance(driver, GpuDevice)
        return driver

    @property
    def lines(self) -> Sequence[str]:
        """The text on the screen."""
        return read_screen(self.viewer.width, self.viewer.height, bytes(self.viewer.pixels))

    async def until(self, seen: Callable[[TerminalRig], object]) -> None:
        """Look until something is seen. Errors: AssertionError with what is seen instead."""
        try:
            async with time_limit(SECONDS):
                while not self.viewer.updates or not seen(self):
                    await self.viewer.update()
        except TimeoutError:
            shown = "\n".join(self.lines)
            raise AssertionError(f"the screen shows something else:\n{shown}") from None

    async def until_size(self, width: int, height: int) -> None:
        """Look until the screen has a size."""
        await self.until(lambda rig: (rig.viewer.width, rig.viewer.height) == (width, height))

    async def until_last(self, *lines: str) -> None:
        """Look until these are the last lines that are not empty."""
        await self.until(
            lambda rig: [line for line in rig.lines if line][-len(lines) :] == list(lines)
        )

    def _input(self, method: str, device: str) -> Any:
        call = getattr(InputServiceStub(self.world.channel), method)
        return lambda request: call(request, metadata=[(DEVICE_KEY, device)])

    async def type(self, text: str) -> None:
        """Type a text, with the layout `us`."""
        request = input_pb2.TypeRequest(text=text, sending=DELIVERED)
        await self._input("Type", "keyboard")(request)

    async def press(self, *chords: str) -> None:
        """Press keys."""
        request = input_pb2.KeyRequest(chords=chords, sending=DELIVERED)
        await self._input("Key", "keyboard")(request)

    async def move_by(self, x: int, y: int) -> None:
        """Move the mouse."""
        distance = input_pb2.Distance(x=x, y=y)
        request = input_pb2.MoveRequest(by=distance, sending=DELIVERED)
        await self._input("Move", "mouse")(request)

    async def move_to(self, x: float, y: float) -> None:
        """Move the tablet's pen: 0 to 1."""
        point = input_pb2.Point(x=x, y=y, unit=input_pb2.UNIT_FRACTION)
        request = input_pb2.MoveRequest(to=point, sending=DELIVERED)
        await self._input("Move", "tablet")(request)

    async def until_pointer(self, x: int, y: int) -> None:
        """Look until the pointer is at a place."""
        await self.until(
            lambda rig: (
                rig.viewer.cursor is not None
                and rig.viewer.cursor.visible
                and (rig.viewer.cursor.x, rig.viewer.cursor.y) == (x, y)
            )
        )


@asynccontextmanager
async def machine(
    folder: Path, *inputs: str, gpus: Sequence[str] = ("gpu",)
) -> AsyncIterator[TerminalRig]:
    """Serve a kernel of input devices and GPUs, none of which is there yet."""
    kinds = dict.fromkeys(inputs, "input") | dict.fromkeys(gpus, "gpu")
    async with serving(folder, kinds) as world:
        yield TerminalRig(world)


@asynccontextmanager
async def at_screen(folder: Path, *inputs: str) -> AsyncIterator[TerminalRig]:
    """Sit down at a screen, when the prompt is on it."""
    async with machine(folder, *inputs) as rig, rig.served(*inputs), rig.screen():
        await rig.world.ready("gpu")
        rig.view()
        await rig.until_last(PROMPT)
        yield rig
