"""The kernel's driver of a GPU whose process goes away, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.gpu_rig import opaque
from tests.support.world import serving
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.settings import Mode
from virtmesh.kernel.device import ProbeState
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.queue_device import Chain
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command

WIDTH, HEIGHT = 64, 48


class StuckGpu(GpuModel):
    """A GPU that does not answer a driver that takes its picture away."""

    def __init__(self, name: str) -> None:
        super().__init__(name, GpuOptions(mode=Mode(WIDTH, HEIGHT)))
        self.is_stuck = asyncio.Event()

    def take(self, chain: Chain) -> None:
        """Take a command."""
        command = spec.CTRL_HDR.unpack(chain.read(spec.CTRL_HDR.size))[0]
        if command == Command.VIRTIO_GPU_CMD_RESOURCE_UNREF:
            self.is_stuck.set()
        else:
            super().take(chain)


def gpu(name: str) -> GpuModel:
    """Make a GPU."""
    return GpuModel(name, GpuOptions(mode=Mode(WIDTH, HEIGHT)))


async def test_the_picture_comes_back_with_the_device(tmp_path: Path) -> None:
    """The kernel shows what was drawn, though the new process has no resources.

    The terminal is on another GPU, and draws nothing here.
    """
    wanted = b"\x11\x22\x33\xff" * (WIDTH * HEIGHT)
    kinds = {"gpu0": "gpu", "gpu1": "gpu"}
    async with serving(tmp_path, kinds) as world, world.serve(VirtioMmio(gpu("gpu0"))):
        await world.ready("gpu0")
        device = world.server.kernel.device("gpu1")
        for process in range(3):
            model = gpu("gpu1")
            async with world.serve(VirtioMmio(model)):
                await world.ready("gpu1")
                picture = model.scanouts[0].picture
                assert picture is not None
                shown = picture.read((0, 0, WIDTH, HEIGHT))
                assert shown == (wanted if process else opaque(bytes(len(wanted))))
                driver = device.ready_driver()
                assert isinstance(driver, VirtIOGpu)
                driver.get_framebuffer()[:] = wanted
                await driver.flush()
            await device.until(ProbeState.WAITING)


async def test_a_device_that_is_lost_between_two_modes_comes_back(tmp_path: Path) -> None:
    """There is no picture just then, and the one that its process before had is shown already."""
    async with serving(tmp_path, {"gpu0": "gpu"}) as world:
        device = world.server.kernel.device("gpu0")
        for _ in range(2):
            async with world.serve(VirtioMmio(gpu("gpu0"))):
                await world.ready("gpu0")
            await device.until(ProbeState.WAITING)
            stuck = StuckGpu("gpu0")
            async with world.serve(VirtioMmio(stuck)):
                await world.ready("gpu0")
                stuck.set_mode(0, Mode(WIDTH + 8, HEIGHT))
                await stuck.is_stuck.wait()
            await device.until(ProbeState.WAITING)
        async with world.serve(VirtioMmio(gpu("gpu0"))):
            await world.ready("gpu0")
            driver = device.ready_driver()
            assert isinstance(driver, VirtIOGpu)
            assert driver.resolution == (WIDTH, HEIGHT)
