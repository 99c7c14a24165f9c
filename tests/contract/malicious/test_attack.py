"""Malicious drivers, at every kind of device, in this process and through a real service."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

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
from virtmesh.kinds import find_kind, kind_names
from virtmesh.mmio.device import Device
from virtmesh.testing.malicious import attack, local, service
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.evdev import code_of

ROUNDS = int(os.environ.get("VIRTMESH_MALICIOUS_ROUNDS", "25"))
"""Rounds for each kind and way; more of them find more."""
SEED = int(os.environ.get("VIRTMESH_MALICIOUS_SEED", "1"))


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


def make_keyboard(_: Path) -> Device:
    """Make a keyboard."""
    return VirtioMmio(InputModel("keys", InputOptions("keyboard"), load("keyboard")))


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


def test_every_kind_is_attacked() -> None:
    """So that a new one is."""
    assert set(KINDS) == set(kind_names())


@pytest.mark.parametrize("name", KINDS)
async def test_no_driver_breaks_a_device(name: str, tmp_path: Path) -> None:
    """In this process, where no service stands between: the model itself."""
    kind = KINDS[name]
    device = kind.make(tmp_path)

    report = await attack(local(device), kind.driver, kind.use, rounds=ROUNDS, seed=SEED)

    device.close()
    assert report.rounds == ROUNDS
    assert report.refused > 0


@pytest.mark.parametrize("name", KINDS)
async def test_no_driver_breaks_a_service(
    name: str, tmp_path: Path, serve: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    """Through handover, register channel and eventfds."""
    kind = KINDS[name]
    device = kind.make(tmp_path)

    async with serve(device, find_kind(name)) as served:
        way = service(served.address)
        report = await attack(way, kind.driver, kind.use, rounds=ROUNDS, seed=SEED)

    assert report.rounds == ROUNDS
