"""Updates of a screen that a browser shows, beside those that a watcher of the library gets.

Usage: python -m tests.bench.panel_frames [--seconds 20]

A driver changes 5 % of a screen of 1280x800, sixty times a second. Chromium shows the panel, and a
watcher of the client library takes the same updates. Printed are the updates a second of both, the
time to the first paint, and how the memory of the page and of the panel grew from the middle of the
run to its end. The device, the kernel and the watcher share this process; the panel has its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from playwright.async_api import Page, async_playwright

from tests.support.world import serving, serving_device
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.kind import KIND
from virtmesh.gpu.model import GpuModel
from virtmesh.gpu.settings import GpuOptions, Mode
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_client import aconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WIDTH, HEIGHT = 1280, 800
RATE = 60
SHARE = 0.05
BAND = round(HEIGHT * SHARE)
"""Rows that change with each update."""
CHROMIUM = "/usr/bin/chromium"
COUNT = """
window.updates = 0;
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (...all) {
  if (this.canvas.isConnected) window.updates += 1;
  return draw.apply(this, all);
};
"""
"""noVNC draws on a canvas of its own, and copies each whole update to the one that is shown."""


async def draw(driver: VirtIOGpu) -> None:
    """Change a band of the screen, again and again, at the rate."""
    framebuffer = driver.get_framebuffer()
    loop = asyncio.get_running_loop()
    begin, number = loop.time(), 0
    stride = 4 * WIDTH
    while True:
        y = number * BAND % (HEIGHT - BAND)
        framebuffer[y * stride : (y + BAND) * stride] = os.urandom(stride) * BAND
        await driver.flush(0, y, WIDTH, BAND)
        number += 1
        await asyncio.sleep(max(0.0, begin + number / RATE - loop.time()))


class Watcher:
    """Counts the updates that the library brings."""

    def __init__(self) -> None:
        self.updates = 0

    async def watch(self, address: str) -> None:
        """Take updates until this is cancelled."""
        async with await aconnect(address) as machine, machine.screen("gpu").watch() as updates:
            async for _ in updates:
                self.updates += 1


@contextlib.asynccontextmanager
async def serving_panel(address: str) -> AsyncIterator[tuple[int, str]]:
    """Start a panel. Yields its process and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "virtmesh_client", "--address", address),
        *("panel", "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        match = re.search(r"http://\S+", (await process.stdout.readline()).decode())
        assert match is not None
        yield process.pid, match[0]
    finally:
        process.terminate()
        await process.wait()


def resident_kib(pid: int) -> int:
    """Return the memory of a process."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) if match else 0


def busy_seconds(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def heap_kib(page: Page) -> int:
    """Return the memory of the page's program, after its garbage is collected."""
    return int(await page.evaluate("gc(); performance.memory.usedJSHeapSize")) >> 10


async def measure(address: str, watcher: Watcher, seconds: float) -> None:
    """Look at the page, and print."""
    options = ["--no-sandbox", "--enable-precise-memory-info", "--js-flags=--expose-gc"]
    async with serving_panel(address) as (pid, url), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = await browser.new_page(viewport={"width": 1400, "height": 900})
        await page.add_init_script(COUNT)
        await page.goto(url)
        while not await page.evaluate("window.updates"):  # noqa: ASYNC110 - the page is elsewhere
            await asyncio.sleep(0.1)
        paints = await page.evaluate(
            "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        )
        shown: list[int] = []
        got: list[int] = []
        memory: list[tuple[int, int]] = []
        busy = busy_seconds(pid)
        for part in range(3):
            if part:
                await asyncio.sleep(seconds / 2)
            shown.append(await page.evaluate("window.updates"))
            got.append(watcher.updates)
            memory.append((await heap_kib(page), resident_kib(pid)))
        busy = busy_seconds(pid) - busy
        await browser.close()
    rate, peer = (shown[-1] - shown[0]) / seconds, (got[-1] - got[0]) / seconds
    lines = [
        f"first contentful paint      {paints:8.0f} ms",
        f"updates shown by the page   {rate:8.1f} /s",
        f"updates that a watcher got  {peer:8.1f} /s, ratio {rate / peer:.2f}",
        f"the panel's processor time  {100 * busy / seconds:7.0f} % of one",
        f"the page's memory           {memory[1][0]:8} KiB, then {memory[2][0]} KiB",
        f"the panel's memory          {memory[1][1]:8} KiB, then {memory[2][1]} KiB",
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))


async def run(seconds: float) -> None:
    """Serve a machine with a GPU, draw on it, and measure."""
    with tempfile.TemporaryDirectory(prefix="vm-") as name:
        folder = Path(name)
        model = GpuModel("gpu", GpuOptions(mode=Mode(WIDTH, HEIGHT)))
        device = serving_device(folder, VirtioMmio(model), KIND)
        async with device, serving(folder, {"gpu": "gpu"}) as world:
            await world.ready("gpu")
            driver = world.server.kernel.driver("gpu")
            assert isinstance(driver, VirtIOGpu)
            watcher, address = Watcher(), f"unix:{folder}/kernel.sock"
            tasks = [
                asyncio.create_task(draw(driver)),
                asyncio.create_task(watcher.watch(address)),
            ]
            try:
                await measure(address, watcher, seconds)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Run it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parser = argparse.ArgumentParser(description="Updates of a screen that a browser shows.")
    parser.add_argument("--seconds", type=float, default=20.0)
    asyncio.run(run(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
