"""A device of each kind, how it is driven, and what its driver does with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from virtmesh.attach.bus import Bus
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.drivers.base import Driver
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.model import GpuModel
from virtmesh.gpu.settings import GpuOptions, Mode
from virtmesh.input.driver import VirtIOInput
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.mmio.device import Device
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.evdev import code_of


async def read_and_write(driver: Driver) -> None:
    """Use a disk."""
    disk = cast("VirtIOBlk", driver)
    await disk.write(0, bytes(4096))
    assert await disk.read(0, 512) == bytes(512)
    await disk.flush()


async def light_up(driver: Driver) -> None:
    """Use a keyboard: post buffers, and switch a light on."""
    _, led = code_of("LED_CAPSL")
    await cast("VirtIOInput", driver).set_led(led, on=True)


async def only_start(_: Driver) -> None:
    """Use what only sends events: its driver has posted buffers for them."""


async def draw(driver: Driver) -> None:
    """Use a screen."""
    gpu = cast("VirtIOGpu", driver)
    gpu.get_framebuffer()[:4] = b"\xff" * 4
    await gpu.flush()


async def say(driver: Driver) -> None:
    """Use a serial port."""
    port = cast("NS16550a", driver)
    await port.write(b"hello")
    await port.drain()


@dataclass(frozen=True)
class Kind:
    """How a device of a kind is made, and driven."""

    make: Callable[[Path], Device]
    driver: Callable[[Bus], Driver]
    use: Callable[[Driver], Awaitable[None]]


def make_disk(folder: Path) -> Device:
    """Make a disk of 1 MiB with two queues."""
    image = folder / "disk.img"
    image.write_bytes(bytes(1 << 20))
    return VirtioMmio(BlkModel("vda", BlkOptions(image, queues=2, queue_size=16, seg_max=14)))


def make_input(personality: str) -> Device:
    """Make a keyboard, a mouse, or a tablet."""
    return VirtioMmio(InputModel(personality, InputOptions(personality), load(personality)))


def make_keyboard(_: Path) -> Device:
    """Make a keyboard."""
    return make_input("keyboard")


def make_mouse(_: Path) -> Device:
    """Make a mouse."""
    return make_input("mouse")


def make_tablet(_: Path) -> Device:
    """Make a tablet."""
    return make_input("tablet")


def make_screen(_: Path) -> Device:
    """Make a small screen."""
    return VirtioMmio(GpuModel("screen", GpuOptions(mode=Mode(64, 48), memory_max=1 << 20)))


def make_port(_: Path) -> Device:
    """Make a serial port."""
    return UartDevice("serial", UartOptions())


KINDS = {
    "blk": Kind(make_disk, VirtIOBlk, read_and_write),
    "gpu": Kind(make_screen, VirtIOGpu, draw),
    "input": Kind(make_keyboard, VirtIOInput, light_up),
    "uart": Kind(make_port, NS16550a, say),
}


@dataclass(frozen=True)
class Named:
    """A device that people know by a name: the name of its kind, how it is made, its queues."""

    kind_name: str
    kind: Kind
    queues: int


DEVICES = {
    "disk": Named("blk", KINDS["blk"], 2),
    "keyboard": Named("input", KINDS["input"], 2),
    "mouse": Named("input", Kind(make_mouse, VirtIOInput, only_start), 2),
    "tablet": Named("input", Kind(make_tablet, VirtIOInput, only_start), 2),
    "screen": Named("gpu", KINDS["gpu"], 2),
    "serial port": Named("uart", KINDS["uart"], 0),
}
