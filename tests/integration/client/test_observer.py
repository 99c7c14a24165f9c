"""What the pytest plugin's observer says of a machine whose devices come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import virtmesh_client
from tests.support.terminal_rig import MODE, machine
from virtmesh_client.pytest_plugin.observer import Evidence, Observer

if TYPE_CHECKING:
    from pathlib import Path

FILE = "gpu-screen0.png"


async def test_a_gpu_that_comes_later(tmp_path: Path) -> None:
    """Its screen is in the evidence, and the counters of a keyboard that comes later as well."""
    async with machine(tmp_path, "keyboard") as rig:
        with virtmesh_client.connect(f"unix:{tmp_path}/kernel.sock") as connected:
            observer = await asyncio.to_thread(Observer, connected, None, from_start=True)
            with observer:
                async with rig.screen(), rig.served("keyboard"):
                    await rig.world.ready("gpu")
                    await rig.press("a")
                    during: Evidence = await asyncio.to_thread(observer.collect)
                after = await asyncio.to_thread(observer.collect)
    assert during.files[FILE].startswith(b"\x89PNG")
    shown = f"gpu, screen 0: {MODE.width}x{MODE.height} in {FILE}"
    assert shown in during.sections["screens"].splitlines()
    assert "keyboard: 2 packets" in during.sections["account"]
    assert after.sections["screens"].startswith("gpu: can't be seen: ")
    assert FILE not in after.files


async def test_a_machine_without_a_gpu(tmp_path: Path) -> None:
    """Nothing is said of screens, also when it does not answer any more."""
    async with machine(tmp_path, gpus=()):
        with virtmesh_client.connect(f"unix:{tmp_path}/kernel.sock") as connected:
            observer = await asyncio.to_thread(Observer, connected, None, from_start=True)
            with observer:
                there = await asyncio.to_thread(observer.collect)
                connected.close()
                closed = await asyncio.to_thread(observer.collect)
    assert there.sections["devices"] == ""
    assert "can't be read" in closed.sections["devices"]
    assert not {"screens"} & (there.sections.keys() | closed.sections.keys())
