"""The kernel's driver of a GPU whose process goes away, over real sockets."""

from __future__ import annotations

from pathlib import Path

from tests.support.gpu_rig import opaque
from tests.support.world import serving
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.settings import Mode
from virtmesh.kernel.device import ProbeState
from virtmesh.virtio.mmio_device import VirtioMmio

WIDTH, HEIGHT = 64, 48


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
