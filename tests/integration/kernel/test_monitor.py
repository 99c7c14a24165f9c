"""The monitor on a real serial port: kernel and devices in one process, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.support.world import World, serving
from virtmesh.attach.guest_ram import PAGE
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.drivers.settings import Settings
from virtmesh.host.host import Addresses, Host
from virtmesh.input.kernel_service import as_input_device
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.main import KernelServer, Plan
from virtmesh.kernel.tree import make_blob
from virtmesh.kernel.tree.fdt import decode, encode, strings
from virtmesh.machine import DeviceEntry, Machine
from virtmesh.mmio.device import Device
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import kernel_pb2
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import DeviceLost
from virtmesh_common.evdev import code_of

PROMPT = "virtmesh> "
KINDS = {"serial": "uart", "vda": "blk", "keyboard": "input"}
TAIL = 1 << 20


@dataclass
class Terminal:
    """The far end of the serial port, reached through the kernel's address."""

    stream: Any
    seen: bytearray = field(default_factory=bytearray)

    async def send(self, data: bytes, flow: pb.Flow.ValueType = pb.FLOW_WAIT) -> None:
        """Send input, 32 KiB at a time."""
        for start in range(0, len(data), 32 << 10):
            piece = pb.Input(data=data[start : start + (32 << 10)], flow=flow)
            await self.stream.write(pb.OpenRequest(input=piece))

    async def until(self, text: str) -> str:
        """Wait until the machine has sent a text; return all up to its end, and forget that."""
        while (at := self.seen.find(text.encode())) < 0:
            response = await self.stream.read()
            assert response is not grpc.aio.EOF, self.seen.decode()
            self.seen += response.output.data
        end = at + len(text.encode())
        shown = self.seen[:end].decode()
        del self.seen[:end]
        return shown

    async def ask(self, line: str) -> str:
        """Enter a line; return what is shown up to the next prompt."""
        await self.send(f"{line}\r".encode())
        await self.until(f"{line}\r\n")
        return (await self.until(PROMPT)).removesuffix(PROMPT)


@asynccontextmanager
async def plugged_in(world: World) -> AsyncIterator[Terminal]:
    """Plug a terminal in, which sees what was sent before it came."""
    stream: Any = UartServiceStub(world.channel).Open(metadata=((DEVICE_KEY, "serial"),))
    await stream.write(pb.OpenRequest(start=pb.Start(watch=True, tail_bytes=TAIL)))
    try:
        yield Terminal(stream)
    finally:
        stream.cancel()


def make_device(folder: Path, name: str) -> Device:
    """Make a device of the machine."""
    if name == "serial":
        return UartDevice(name, UartOptions())
    if name == "keyboard":
        return VirtioMmio(InputModel(name, InputOptions(name), load(name)))
    image = folder / "vda.img"
    if not image.exists():
        image.write_bytes(b"first block\n".ljust(512, b".") + bytes((4 << 20) - 512))
    return VirtioMmio(BlkModel(name, BlkOptions(image)))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel; none of its devices is there yet."""
    async with serving(tmp_path, KINDS, metrics=None, source="a test") as world:
        yield world


@pytest.fixture
async def running(world: World) -> AsyncIterator[World]:
    """Serve all devices, and wait until they are used."""
    async with AsyncExitStack() as undo:
        for name in KINDS:
            await undo.enter_async_context(world.serve(make_device(world.folder, name)))
        await world.ready(*KINDS)
        yield world


async def test_a_newcomer_meets_a_living_machine(running: World) -> None:
    """The boot messages, the banner and a prompt are there for who comes late."""
    async with plugged_in(running) as terminal:
        boot = await terminal.until(PROMPT)
        devices = await terminal.ask("lsdev")

    assert "serial: ns16550a at 0x10000000, irq 10" in boot
    assert "serial: driver NS16550a" in boot
    assert "vda: virtio device ID 2, driver VirtIOBlk" in boot
    assert "vda: features VIRTIO_BLK_F_" in boot
    assert "vda: 4194304 bytes in blocks of 512, write-back" in boot
    assert "keyboard: input: virtmesh keyboard" in boot
    assert boot.index("vda: ready") < boot.index("Welcome to virtmesh")
    assert "vda       0x10001000  1    ready  VirtIOBlk" in devices


async def test_a_serial_port_is_listed_as_a_platform_device(running: World) -> None:
    """It has no virtio ID, and no queues to be rung."""
    stub: Any = KernelServiceStub(running.channel)
    serial, *_ = (await stub.ListDevices(kernel_pb2.ListDevicesRequest())).devices

    assert (serial.name, serial.mmio_address, serial.irq) == ("serial", 0x1000_0000, 10)
    assert (serial.compatible, serial.driver) == ("ns16550a", "NS16550a")
    assert (serial.virtio_device_id, serial.doorbell) == (0, "")


async def test_the_disk_is_read_from_the_console(running: World) -> None:
    """By block, or by byte; equal rows are shown once."""
    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        block = await terminal.ask("blk read 0 2")
        middle = await terminal.ask("hexdump blk:vda 0x1fc 8 ")
        past = await terminal.ask("blk read 8192")
        memory = await terminal.ask("hexdump ram:vda 0x80000000 16")
        outside = await terminal.ask("hexdump ram:vda 0 1")

    assert block.split("\r\n") == [
        "00000000  66 69 72 73 74 20 62 6c  6f 63 6b 0a 2e 2e 2e 2e  |first block.....|",
        "00000010  2e 2e 2e 2e 2e 2e 2e 2e  2e 2e 2e 2e 2e 2e 2e 2e  |................|",
        "*",
        "00000200  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
        "*",
        "00000400",
        "",
    ]
    assert middle.startswith("000001fc  2e 2e 2e 2e 00 00 00 00")
    assert past.startswith("blk: vda ends at byte 4194304")
    assert memory.startswith("80000000  ")
    assert outside.startswith("hexdump: 1 bytes at 0x0 are not in RAM, which has 67108864 bytes")


async def test_interrupts_are_counted_by_source(running: World) -> None:
    """Each device has a line of its own."""
    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        first, *rows = (await terminal.ask("irq")).split("\r\n")

    assert first.split() == ["IRQ", "DEVICE", "HANDLED", "SPURIOUS"]
    counts = {row.split()[1]: int(row.split()[2]) for row in rows if row}
    assert set(counts) == set(KINDS)
    assert counts["serial"] > 0
    assert counts["vda"] > 0


async def test_events_are_followed_until_they_are_cancelled(running: World) -> None:
    """And the last ones are shown again."""
    kind, code = code_of("KEY_A")
    packet = input_pb2.InjectRequest(events=[input_pb2.Event(type=kind, code=code, value=1)])
    inputs: Any = InputServiceStub(running.channel)

    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        await terminal.send(b"events\r")
        await terminal.until("events\r\n")
        keyboard = as_input_device("keyboard", running.server.kernel.driver("keyboard"))
        while not keyboard.log._waiting:  # noqa: ASYNC110 - the log tells nobody of its readers
            await asyncio.sleep(0)
        async for _ in inputs.Inject(iter([packet]), metadata=((DEVICE_KEY, "keyboard"),)):
            pass
        await terminal.until("keyboard EV_KEY KEY_A 1\r\n")
        await terminal.send(b"\x03")
        await terminal.until(f"^C\r\n{PROMPT}")
        last = await terminal.ask("events -d keyboard -n 4")
        wrong = await terminal.ask("events -d vda")

    assert [row.split()[2:] for row in last.splitlines()[::2]] == [
        ["EV_KEY", "KEY_A", "1"],
        ["EV_KEY", "KEY_A", "0"],
    ]
    assert wrong.startswith("events: vda is no input device")


async def test_the_boot_log_tells_of_devices_that_go_and_come_back(running: World) -> None:
    """Live on the console, and in dmesg."""
    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        running.server.kernel.device("vda").ready_driver().fail(DeviceLost("it broke"))
        await terminal.until("vda: waiting: it broke\r\n")
        await terminal.until("vda: ready\r\n")

        assert "vda: waiting: it broke" in await terminal.ask("dmesg")


async def test_a_burst_reaches_the_sink_whole_with_the_kernel_queue(running: World) -> None:
    """64 KiB, whatever bytes they are, from a sender that does not look; the hash is equal."""
    data = os.urandom(64 << 10)

    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        await terminal.send(f"sink {len(data)}\r".encode())
        await terminal.until("bytes\r\n")
        await terminal.send(data, pb.FLOW_NONE)
        report = await terminal.until("\r\n")

    digest = hashlib.sha256(data).hexdigest()
    assert report == f"sink: received {len(data)} sha256 {digest} overruns 0\r\n"


async def test_a_burst_overruns_the_port_without_the_kernel_queue(running: World) -> None:
    """What is missing is exactly what the device counts as overrun."""
    data = os.urandom(64 << 10)
    stub: Any = UartServiceStub(running.channel)

    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        await terminal.ask("queue off")
        await terminal.send(f"sink {len(data)}\r".encode())
        await terminal.until("bytes\r\n")
        await terminal.send(data, pb.FLOW_NONE)
        report = (await terminal.until("\r\n")).split()
        stats = await stub.GetStats(pb.GetStatsRequest(), metadata=((DEVICE_KEY, "serial"),))

    received, overruns = int(report[2]), int(report[6])
    assert received < len(data)
    assert stats.overruns == len(data) - received
    assert 0 < overruns <= stats.overruns


async def test_a_break_is_noted(running: World) -> None:
    """It does nothing else: what was typed is still there."""
    async with plugged_in(running) as terminal:
        await terminal.until(PROMPT)
        await terminal.send(b"una")
        await terminal.until("una")
        await terminal.stream.write(pb.OpenRequest(input=pb.Input(error=pb.LINE_ERROR_BREAK)))
        await terminal.until("serial: break, 1 so far\r\n")
        await terminal.send(b"me\r")

        assert "virtmesh" in await terminal.until(PROMPT)


async def test_a_session_outlives_the_process_of_its_port(world: World) -> None:
    """What was typed is there, offsets go on, and the log says what happened; no banner comes."""
    async with world.serve(make_device(world.folder, "serial")), plugged_in(world) as terminal:
        await terminal.until(PROMPT)
        await terminal.send(b"una")
        await terminal.until("una")
    await world.server.kernel.device("serial").until(ProbeState.WAITING)

    async with world.serve(make_device(world.folder, "serial")):
        await world.ready("serial")
        async with plugged_in(world) as terminal:
            await terminal.send(b"me\r")
            seen = await terminal.until("uname\r\n")
            answer = await terminal.until(PROMPT)

    assert seen.count("Welcome to virtmesh") == 1
    assert "serial: waiting: serial is lost" in seen
    assert "virtmesh" in answer


async def test_a_device_without_queues_gets_a_page(running: World) -> None:
    """It never looks at memory: attaching hands some over all the same."""
    assert running.server.kernel.device("serial").ready_driver().bus.ram.size == PAGE


async def test_a_device_that_nobody_drives_fails(world: World) -> None:
    """It is not asked for a virtio header: its compatible string says what it is."""
    entry = DeviceEntry("serial", "uart", f"unix:{world.folder}/serial.sock", 0)
    root = decode(make_blob(Machine(devices=(entry,))))
    soc = next(node for node in root.children if node.name == "soc")
    node = next(node for node in soc.children if node.name == "serial@10000000")
    node.properties["compatible"] = strings("acme,widget", "acme,thing")
    kernel = Kernel(encode(root), Settings())
    async with world.serve(make_device(world.folder, "serial")):
        await world.server.kernel.stop()  # there is one driver at a time
        kernel.start()
        await kernel.device("serial").until(ProbeState.FAILED)
        await kernel.stop()

    assert kernel.device("serial").detail == "no driver for acme,widget or acme,thing"


async def test_a_port_of_wrong_properties_fails_with_the_mend(tmp_path: Path) -> None:
    """The driver says which of them make no sense; the kernel goes on."""
    entry = DeviceEntry(
        *("serial", "uart", f"unix:{tmp_path}/serial.sock", 0), options={"reg-io-width": 4}
    )
    blob = make_blob(Machine(name="test", devices=(entry,)))
    server = KernelServer(Plan(blob, Settings(), [f"unix:{tmp_path}/kernel.sock"]))
    host = Host(
        UartDevice("serial", UartOptions()), Addresses([entry.endpoint], tmp_path / "handover")
    )
    await host.start()
    await server.start()
    serial = server.kernel.device("serial")

    await serial.until(ProbeState.FAILED)

    assert "reg-shift" in serial.detail
    await server.stop()
    await host.stop()
