"""Kernels that know where their devices are: fixed slots, and places of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from tests.support.riscv.habits import build
from tests.support.riscv.small_kernels import COMPILER, has_compiler

if TYPE_CHECKING:
    from tests.support.cli import Cli

PAGE = Path(__file__).parents[3] / "docs/boot.md"
DISK_7 = ("DISK=0x10008000", "DISK_SOURCE=8")
KEYBOARD_4 = ("KEYBOARD=0x10005000", "KEYBOARD_SOURCE=5")


def use(cli: Cli) -> None:
    """Press Escape once the kernel waits for keys, and wait for its end: it powers off."""
    with virtmesh_client.connect(cli.state.address) as machine:
        keyboard = machine.input("keyboard")
        keyboard.key("esc")
        eventually(lambda: machine.cpu().status().state == "off")
        assert machine.cpu().status().reason == "poweroff"


@pytest.fixture(autouse=True)
def _compiler() -> None:
    """Leave the tests out where kernels can't be built."""
    if not has_compiler():
        pytest.skip(f"{COMPILER} is not installed")


def test_a_command_line_puts_devices_into_slots(cli: Cli) -> None:
    """Disk in slot 7, keyboard in slot 4."""
    kernel = build(cli.folder, *DISK_7, *KEYBOARD_4)

    result = cli(
        *("boot", "--detach", kernel),
        *("--disk=disk.img,size=1M,slot=7", "--input=keyboard,slot=4"),
    )

    assert result.returncode == 0, result.stderr
    use(cli)


def test_a_command_line_gives_addresses_and_interrupts(cli: Cli) -> None:
    """The empty slot that the disk has left stays readable."""
    kernel = build(
        *(cli.folder, "DISK=0x20000000", "DISK_SOURCE=3"),
        *("KEYBOARD=0x10001000", "KEYBOARD_SOURCE=30"),
    )

    result = cli(
        *("boot", "--detach", kernel),
        "--disk=disk.img,size=1M,slot=5,address=0x20000000,interrupt=3",
        "--input=keyboard,slot=0,interrupt=30",
    )

    assert result.returncode == 0, result.stderr
    use(cli)


def test_the_machine_file_of_the_page_runs_a_kernel_like_xv6(cli: Cli) -> None:
    """Disk in slot 0, keyboard in slot 4, with the quirks that the page names."""
    [text] = re.findall(r"```toml\n(name = \"teaching\".*?)```", PAGE.read_text(), re.DOTALL)
    (cli.folder / "machine.toml").write_text(text)
    habits = ("LEGACY", "WANTS_QEMU", "NO_LCR", "EARLY_DRIVER_OK")
    build(cli.folder, *habits, *KEYBOARD_4).rename(cli.folder / "kernel.elf")

    cli.up("machine.toml")

    use(cli)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--disk=d.img,slot=64", "slot must be from 0 to 63"),
        ("--disk=d.img,slot=x", "slot must be a number, such as slot=1"),
        ("--disk=d.img,address=0x2000000", "is taken by the CLINT: choose another"),
        ("--disk=d.img,interrupt=10", "interrupt 10 is that of"),
        ("--quirk=vdb=legacy", "cpu.quirks.vdb is unknown: virtio devices are none"),
        ("--quirk=vda=lax", "must be lenient or legacy"),
    ],
)
def test_a_wrong_place_is_refused_before_anything_starts(
    cli: Cli, option: str, message: str
) -> None:
    """The line says what to write instead."""
    result = cli("boot", build(cli.folder), option)

    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
