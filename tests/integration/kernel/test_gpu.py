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


async def test_the_picture_comes_back_with_the_device(tmp_path: Path) -> None:
    """The kernel shows what was drawn, though the new process has no resources."""
    wanted = b"\x11\x22\x33\xff" * (WIDTH * HEIGHT)
    async with serving(tmp_path, {"gpu0": "gpu"}) as world:
        device = world.server.kernel.device("gpu0")
        for process in range(3):
            model = GpuModel("gpu0", GpuOptions(mode=Mode(WIDTH, HEIGHT)))
            async with world.serve(VirtioMmio(model)):
                await world.ready("gpu0")
                picture = model.scanouts[0].picture
                assert picture is not None
                shown = picture.read((0, 0, WIDTH, HEIGHT))
                assert shown == (wanted if process else opaque(bytes(len(wanted))))
                driver = device.ready_driver()
                assert isinstance(driver, VirtIOGpu)
                driver.get_framebuffer()[:] = wanted
                await driver.flush()
            await device.until(ProbeState.WAITING)
