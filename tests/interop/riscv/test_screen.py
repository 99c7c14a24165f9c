"""virtio_gpu of a real kernel: its console is read from screenshots, and its pixels are exact."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.cli import eventually
from tests.support.riscv.boot import Rig, at_shell
from tests.support.riscv.console import BOOT_SECONDS, reach_shell
from tests.support.riscv.glyphs import LESSON, PRINTABLE, Glyphs, learn, printf, read
from tests.support.riscv.parts import Parts
from tests.support.riscv.screenshots import shot, shown
from virtmesh_client.screen.models import Pixels
from virtmesh_common.errors import DeviceLost, ServiceUnavailable

WIDTH, HEIGHT = 640, 480
PATTERN = "pattern.raw"
CLEAR = "\033[?25l\033[H\033[2J"
"""Hides the cursor, and clears the screen."""
MODES = "/sys/class/drm/card0-Virtual-1/modes"


def pattern() -> bytes:
    """Return pixels of a picture: blue, green, red, and 255, every pixel another."""
    pixels = bytearray(Random(14).randbytes(WIDTH * HEIGHT * 4))  # noqa: S311 - any bytes will do
    pixels[3::4] = b"\xff" * (WIDTH * HEIGHT)
    return bytes(pixels)


@pytest.fixture(scope="module")
def screen(riscv: Parts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Boot with a GPU; the kernel's messages are on its screen as well."""
    file: Path = tmp_path_factory.mktemp("screen") / PATTERN
    file.write_bytes(pattern())
    gpu = f"gpu,name=gpu0,mode={WIDTH}x{HEIGHT}"
    options = ("--device", gpu, "--append", "console=tty0 console=ttyS0")
    with at_shell(riscv, *options, files=[file]) as rig:
        yield rig


@pytest.fixture(scope="module")
def log(screen: Rig) -> Pixels:
    """Return what was on the screen after the boot, before a test wrote to it."""
    return shot(screen)


@pytest.fixture(scope="module")
def glyphs(screen: Rig, log: Pixels) -> Glyphs:
    """Learn the glyphs of the console's font."""
    del log
    lesson = printf(CLEAR + "\r\n".join(LESSON))
    screen.guest.run(f"printf {lesson} > /dev/tty1")
    eventually(lambda: len(learn(shot(screen))) == len(PRINTABLE))
    return learn(shot(screen))


def test_the_guest_finds_a_screen_of_the_mode(screen: Rig) -> None:
    """Its driver says so, and /init."""
    assert f"guest: screen fb0 of {WIDTH},{HEIGHT}" in screen.guest.text
    assert screen.guest.run(f"head -n 1 {MODES}").strip() == f"{WIDTH}x{HEIGHT}"


def test_the_boot_log_is_on_the_screen(log: Pixels, glyphs: Glyphs) -> None:
    """Kernel messages, read by the glyphs of the console's own font."""
    text = "\n".join(read(log, glyphs))
    assert re.search(r"EXT4-fs \(vda\): mounted filesystem", text), text


def test_text_on_the_screen_is_read(screen: Rig, glyphs: Glyphs) -> None:
    """Whatever a program prints on the console."""
    said = 'A screen {of} virtmesh: "0123456789" & all\\that|~'
    screen.guest.run(f"printf {printf(CLEAR + said)} > /dev/tty1")
    eventually(lambda: read(shot(screen), glyphs)[0] == said)
    assert not any(read(shot(screen), glyphs)[1:])


def test_pixels_that_a_program_draws_are_exact(screen: Rig) -> None:
    """Each byte of a file that is copied to the framebuffer."""
    screen.guest.run(f"printf {printf(CLEAR)} > /dev/tty1; cat /mnt/{PATTERN} > /dev/fb0")
    wanted = pattern()
    eventually(lambda: shot(screen).data == wanted)


def test_the_kernel_breaks_no_rule(screen: Rig) -> None:
    """After all that."""
    told = screen.cli("report", "gpu0", "--json")
    assert json.loads(told.stdout)[0]["violations"] == []
    assert told.returncode == 0, told.stderr


def test_another_mode_is_seen_by_the_guest(screen: Rig) -> None:
    """The kernel hears of it by an interrupt."""
    done = screen.cli("screen", "mode", "gpu0", "512x384")
    assert done.returncode == 0, done.stderr
    screen.guest.run(f'until [ "$(head -n 1 {MODES})" = 512x384 ]; do usleep 1000; done')


def kill(rig: Rig) -> None:
    """Kill the GPU, and wait until the picture is what it was."""
    wanted, before = shot(rig).data, rig.cli.process("gpu0")
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: rig.cli.process("gpu0").restarts > before.restarts)
    eventually(lambda: shown(rig, DeviceLost, ServiceUnavailable) == wanted)


def write(rig: Rig, glyphs: Glyphs, text: str) -> None:
    """Have the guest write to its screen, and wait until it is seen."""
    rig.guest.run(f"printf {printf(CLEAR + text)} > /dev/tty1")
    eventually(lambda: read(shot(rig), glyphs)[0] == text)


def test_a_guest_whose_gpu_is_killed_keeps_its_screen(screen: Rig, glyphs: Glyphs) -> None:
    """The picture is there again, and the guest goes on drawing: it has noticed nothing."""
    for text in ("before", "after one", "after two"):
        write(screen, glyphs, text)
        kill(screen)
    write(screen, glyphs, "after all")
    assert screen.guest.run("dmesg | grep -c 'response 0x12' || true").strip() == "0"


def test_a_reboot_brings_the_screen_back(screen: Rig) -> None:
    """In the mode that it has by then."""
    assert screen.cli("screen", "mode", "gpu0", "512x384").returncode == 0
    screen.guest.console.sendline("reboot -f")
    screen.guest.expect(re.escape("OpenSBI v"), BOOT_SECONDS)
    screen.guest.expect("guest: screen fb0 of 512,384", BOOT_SECONDS)
    reach_shell(screen.guest)

    assert (shot(screen).width, shot(screen).height) == (512, 384)
    assert screen.guest.end() == 0
