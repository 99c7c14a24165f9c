"""Which files and functions one streamed write opens, from the client's call to the device.

Usage: python -m tests.bench.write_walk [--list]

Client, kernel service and device run in this process, over real sockets, memory and rings. After a
first write, which pays for what is made only once, `sys.setprofile` notes every Python function of
the project that a second write of the same 4 MiB enters, on any thread. Functions of virtmesh's own
packages count, once each; generated stubs, the standard library and gRPC do not. A task factory
counts the asyncio tasks of services and device; gRPC makes some of them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import virtmesh_client
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.drivers.settings import Settings
from virtmesh.host.host import Addresses, Host
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.main import KernelServer, Plan
from virtmesh.kernel.tree import make_blob
from virtmesh.machine import DeviceEntry, Machine
from virtmesh.virtio.mmio_device import VirtioMmio

if TYPE_CHECKING:
    from types import CodeType, FrameType

SIZE = 4 << 20
PACKAGES = ("virtmesh", "virtmesh_client", "virtmesh_common", "virtmesh_native")


def names(code: CodeType) -> tuple[str, str] | None:
    """Return the file in its package, and the function; None for what is not the project's."""
    parts = Path(code.co_filename).parts
    package = next((number for number, part in enumerate(parts) if part in PACKAGES), None)
    if package is None or "site-packages" in parts or "api" in parts:
        return None
    # A comprehension, a lambda and a nested function are read with the function around them.
    return "/".join(parts[package:]), code.co_qualname.partition(".<locals>")[0]


class Walk:
    """Notes what is entered between `start` and `stop`, on every thread that is known by then."""

    def __init__(self) -> None:
        self.entered: set[CodeType] = set()
        self._noting = False
        sys.setprofile(self._note)
        threading.setprofile(self._note)

    def start(self) -> None:
        """Note from here on."""
        self._noting = True

    def stop(self) -> list[tuple[str, str]]:
        """Note no more; return the functions in order of file and name."""
        self._noting = False
        return sorted({found for code in self.entered if (found := names(code))})

    def _note(self, frame: FrameType, event: str, _arg: object) -> None:
        if self._noting and event == "call":
            self.entered.add(frame.f_code)


async def walk() -> tuple[list[tuple[str, str]], int]:
    """Serve a machine of one disk, write twice; return what the second write entered, and tasks."""
    tasks = 0

    def make_task(loop: asyncio.AbstractEventLoop, work: Any) -> asyncio.Task[Any]:
        nonlocal tasks
        tasks += 1
        return asyncio.Task(work, loop=loop)

    with tempfile.TemporaryDirectory(prefix="virtmesh-walk-") as name:
        folder = Path(name)
        image = folder / "vda.img"
        image.write_bytes(bytes(4 * SIZE))
        device = VirtioMmio(BlkModel("vda", BlkOptions(image)))
        endpoint, address = f"unix:{folder}/vda.sock", f"unix:{folder}/kernel.sock"
        machine = Machine(
            name="walk", devices=(DeviceEntry(name="vda", kind="blk", endpoint=endpoint, slot=0),)
        )
        noted = Walk()
        host = Host(device, Addresses([endpoint], folder / "vda.handover"))
        await host.start()
        server = KernelServer(Plan(make_blob(machine), Settings(), [address], "127.0.0.1:0"))
        await server.start()
        await server.kernel.device("vda").until(ProbeState.READY)
        with virtmesh_client.connect(address) as client:
            disk = client.disk("vda")
            await asyncio.to_thread(disk.write, 0, bytes(SIZE))
            asyncio.get_running_loop().set_task_factory(make_task)
            noted.start()
            await asyncio.to_thread(disk.write, 0, bytes(SIZE))
            found = noted.stop()
            made = tasks
        await server.stop()
        await host.stop()
        return found, made


def main() -> None:
    """Print the numbers; with --list each file with its functions."""
    found, tasks = asyncio.run(walk())
    files = sorted({file for file, _ in found})
    console = Console(highlight=False)
    if "--list" in sys.argv[1:]:
        for file in files:
            console.print(file, *(f"\n    {name}" for at, name in found if at == file), sep="")
    console.print(
        f"one write of {SIZE >> 20} MiB enters {len(found)} functions in {len(files)} files,"
        f" and makes {tasks} tasks"
    )


if __name__ == "__main__":
    main()
