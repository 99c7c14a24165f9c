"""The monitor keeps a session on the console, whatever becomes of either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from virtmesh.drivers.settings import Settings
from virtmesh.kernel import port_switch
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.monitor import Monitor
from virtmesh.kernel.monitor.session import PROMPT
from virtmesh.kernel.port_switch import PortSwitch
from virtmesh.kernel.tree import make_blob
from virtmesh.machine import DeviceEntry, Machine
from virtmesh.testing.memory_tty import MemoryTty
from virtmesh_common.errors import VirtmeshError


class Port(MemoryTty):
    """A port as a driver has it: `failed` is done when it is of no use any more."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self.requests = 0
        self.faults = 0
        """Writes that break in a way that nobody foresaw."""

    async def write(self, data: bytes) -> None:
        """Take output, or break."""
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        await super().write(data)


@asynccontextmanager
async def monitored(port: Port) -> AsyncIterator[Kernel]:
    """Run the monitor of a machine whose console is a port in memory."""
    entry = DeviceEntry("serial", "uart", "unix:/run/serial.sock", 0)
    kernel = Kernel(make_blob(Machine(devices=(entry,))), Settings())
    console = kernel.devices["serial"]
    console.driver, console.state = port, ProbeState.READY  # type: ignore[assignment]
    running = asyncio.create_task(PortSwitch(console, kernel.boot_log, Monitor(kernel)).run())
    try:
        yield kernel
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_fault_of_the_session_begins_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel goes on, and says in its boot log that there was one."""
    monkeypatch.setattr(port_switch, "PAUSE_S", 0)
    port = Port()
    port.faults = 2

    async with monitored(port):
        seen = await port.until(PROMPT)

    assert "monitor: a fault; the log of the kernel says more\r\n" in seen
    assert "Welcome to virtmesh" in seen


async def test_many_breaks_do_not_fill_the_boot_log() -> None:
    """They are noted together, at most once a second."""
    port = Port()

    async with monitored(port) as kernel:
        await port.until(PROMPT)
        before = kernel.boot_log.count
        for _ in range(10_000):
            port.on_break()

    assert 1 <= kernel.boot_log.count - before < 10
    assert any("serial: break, 1 so far" in line for line in kernel.boot_log.last(10))


async def test_a_device_is_listed_in_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its service has said of itself."""
    port = Port()

    async with monitored(port) as kernel:
        await port.until(PROMPT)
        monkeypatch.setattr(kernel.devices["serial"], "detail", "evil\x1b[2J\r\nnews")
        await port.type("lsdev\r")
        seen = await port.until(PROMPT)

    assert "evil?[2J??news\r\n" in seen


async def test_tab_completes_devices_behind_a_command() -> None:
    """By name, and as the sources of a dump."""
    port = Port()

    async with monitored(port):
        await port.until(PROMPT)
        await port.type("events -d s\thexdump ram:s\t")

        assert await port.until("ram:serial ") == "events -d serial hexdump ram:serial "
