"""`virtmesh screen` on a machine of real processes, and the library."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.cli import SECONDS, Cli, eventually, own_folder
from virtmesh.testing.screen_text import read_screen
from virtmesh_client import aconnect, connect
from virtmesh_client.screen.models import Pixels
from virtmesh_client.screen.screen import Screen
from virtmesh_client.screen.update import Update
from virtmesh_common.errors import DeviceNotFound, NotOffered
from virtmesh_common.gpu.errors import BadMode, NoPicture, NoSuchScanout, ScreenTimeout

pytestmark = pytest.mark.processes

WIDTH, HEIGHT = 320, 200
SIZE = WIDTH * HEIGHT * 4
PROMPT = "virtmesh>"
CELL_WIDTH, CELL_HEIGHT = 8, 16
"""A character of the terminal, in pixels."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a GPU of two screens, and a disk."""
    with own_folder() as cli:
        gpu = f"gpu,mode={WIDTH}x{HEIGHT},scanouts=2"
        inputs = ("--input", "keyboard", "--input", "mouse", "--input", "tablet")
        cli.up("--device", gpu, "--disk", "disk.img,size=16M", *inputs)
        with connect(cli.state.address) as connection:
            eventually(lambda: PROMPT in text_of(connection.screen("gpu").pixels()))
        yield cli


def text_of(pixels: Pixels) -> Sequence[str]:
    """Return the lines of the terminal, read by its font; without those that are empty."""
    return [line for line in read_screen(pixels.width, pixels.height, pixels.data) if line]


def size_of(file: bytes) -> tuple[str | None, tuple[int, int]]:
    """Return the format and the size of a picture."""
    with Image.open(BytesIO(file)) as image:
        image.load()
        return image.format, image.size


def test_a_screenshot_is_a_file(machine: Cli) -> None:
    """Named after the device, or as asked for; one that is there is replaced only by --force."""
    done = machine("screen", "shot", "gpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gpu: screen 0 is in gpu.png (")
    assert size_of((machine.folder / "gpu.png").read_bytes()) == ("PNG", (WIDTH, HEIGHT))
    again = machine("screen", "shot", "gpu")
    assert (again.returncode, "gpu.png" in again.stderr) == (1, True)
    assert "--force" in again.stderr
    done = machine("screen", "shot", "gpu", "gpu.png", "--force", "--json")
    told = json.loads(done.stdout)
    assert told["bytes"] == (machine.folder / told["file"]).stat().st_size


def test_a_screenshot_goes_to_standard_output(machine: Cli, tmp_path: Path) -> None:
    """All bytes of the file, and nothing else."""
    target = tmp_path / "shot.png"
    with target.open("wb") as out:
        command = [machine.python, "-m", "virtmesh_client", "--address", machine.state.address]
        done = subprocess.run(
            [*command, "screen", "shot", "gpu", "-"],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert size_of(target.read_bytes()) == ("PNG", (WIDTH, HEIGHT))


def test_a_screenshot_is_a_png_file(machine: Cli) -> None:
    """A name that says otherwise is refused, and a terminal too."""
    done = machine("screen", "shot", "gpu", "shot.jpg")
    assert (done.returncode, done.stdout) == (2, "")
    assert "shot.jpg is of another format: a screenshot is a PNG file" in done.stderr
    assert not (machine.folder / "shot.jpg").exists()
    other, terminal = os.openpty()
    try:
        command = [machine.python, "-m", "virtmesh_client", "--address", machine.state.address]
        shown = subprocess.run(
            [*command, "screen", "shot", "gpu", "-"],
            stdout=terminal,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    finally:
        os.close(terminal)
        os.close(other)
    assert shown.returncode == 2
    assert b"standard output is a terminal" in shown.stderr


def test_the_screens_are_listed(machine: Cli) -> None:
    """As a table, and as objects."""
    lines = [line.split() for line in machine("screen", "info", "gpu").stdout.splitlines()]
    assert lines[1:] == [["0", "320x200", "320x200", "160,100"], ["1", "320x200", "-", "-"]]
    told = json.loads(machine("screen", "info", "gpu", "--json").stdout)
    assert [one["picture"] for one in told] == [[WIDTH, HEIGHT], None]
    told = json.loads(machine("screen", "stats", "gpu", "--json").stdout)
    assert told[0]["flushes"] >= 1
    assert told[0]["damage_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shot", "vda"), "virtmesh: vda is no GPU; the GPUs are: gpu\n"),
        (("vnc", "vda", "--listen", "0"), "virtmesh: vda is no GPU; the GPUs are: gpu\n"),
        (("shot", "nothing"), "`virtmesh devices` lists the devices"),
        (("shot", "gpu", "--scanout", "1"), "shows nothing"),
        (("shot", "gpu", "--scanout", "9"), "`virtmesh screen info DEVICE` lists the screens"),
        (("mode", "gpu", "5000x100"), "width and height are 16 to 4095"),
        (("mode", "gpu", "1x1"), "width and height are 16 to 4095"),
    ],
)
def test_what_can_not_be_done(machine: Cli, arguments: tuple[str, ...], words: str) -> None:
    """One line says what, and what to do; no file is left."""
    done = machine("screen", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (machine.folder / f"{arguments[1]}.png").exists() or arguments[1] == "gpu"


@pytest.mark.parametrize("mode", ["wide", "0x0", "640x", "-1x5", "123456x1"])
def test_what_is_no_mode(machine: Cli, mode: str) -> None:
    """It is refused before anything is asked."""
    done = machine("screen", "mode", "gpu", "--", mode)
    assert done.returncode == 2
    assert "is no mode: write WIDTHxHEIGHT or off" in done.stderr


def test_both_faces(machine: Cli) -> None:
    """The same methods and results."""
    with connect(machine.state.address) as connection:
        screen = connection.screen("gpu")
        pixels = screen.pixels()
        assert (pixels.width, pixels.height, len(pixels.data)) == (WIDTH, HEIGHT, SIZE)
        assert text_of(pixels)[-1] == PROMPT
        assert screen.pixels(cursor=True).at(WIDTH - 1, HEIGHT - 1) == (0, 0, 0)
        with pytest.raises(NoPicture):
            screen.shot(1)
        with pytest.raises(NoSuchScanout):
            screen.shot(2)
        with pytest.raises(BadMode):
            screen.set_mode(15, 15)
        screen.disconnect(1)
        assert [one.connected for one in screen.info()] == [True, False]
        screen.set_mode(640, 480, 1)
        assert screen.info()[1].mode == (640, 480)


async def test_the_asyncio_face(machine: Cli) -> None:
    """It waits without a thread of the caller's."""
    async with await aconnect(machine.state.address) as connection:
        screen = connection.screen("gpu")
        assert text_of(await screen.pixels())[-1] == PROMPT
        assert size_of(await screen.shot()) == ("PNG", (WIDTH, HEIGHT))
        with pytest.raises(NoPicture):
            await screen.shot(1)


def test_a_screen_is_watched_through_the_kernel(machine: Cli) -> None:
    """What waits for a picture sees the driver's next framebuffer, and when it is still."""
    with connect(machine.state.address) as connection:
        screen = connection.screen("gpu")
        needle = prompt_of(screen, 330)
        with screen.watch() as updates:
            first = next(updates)
            assert (first.is_new, first.width, first.height) == (True, WIDTH, HEIGHT)
            with pytest.raises(ScreenTimeout, match="330x16 has no room in the screen of 320x200"):
                screen.expect(needle, timeout=0, save_to=machine.folder / "seen")
            screen.set_mode(400, 300)
            match = screen.expect(needle, timeout=SECONDS)
            assert (match.score, match.picture.width, match.picture.height) == (1.0, 400, 300)
            sizes = {(one.width, one.height) for one in until(updates, 400)}
            assert (400, 300) in sizes
        assert text_of(screen.wait_still(0.1, timeout=SECONDS))[-1] == PROMPT
        with pytest.raises(NotOffered):
            next(connection.screen("vda").watch())
        with pytest.raises(DeviceNotFound):
            connection.screen("nothing").expect(needle, timeout=None)
        screen.set_mode(WIDTH, HEIGHT)
        eventually(lambda: screen.info()[0].picture == (WIDTH, HEIGHT))


def prompt_of(screen: Screen, width: int) -> np.ndarray:
    """Return the row of the terminal's prompt, black up to a width; its cursor doesn't matter."""
    eventually(lambda: text_of(screen.pixels())[-1] == PROMPT)
    picture = screen.pixels()
    rows = np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 4)
    lines = read_screen(picture.width, picture.height, picture.data)
    last, end = max(n for n, line in enumerate(lines) if line), len(PROMPT) * CELL_WIDTH
    needle = np.zeros((CELL_HEIGHT, width, 4), np.uint8)
    needle[:, :, 3] = 255
    needle[:, :end, :3] = rows[last * CELL_HEIGHT :][:CELL_HEIGHT, :end, 2::-1]
    needle[:, end : end + 2 * CELL_WIDTH, 3] = 0
    return needle


def until(updates: Iterator[Update], width: int) -> Iterator[Update]:
    """Return updates, to the first one of a picture of that width."""
    for update in updates:
        yield update
        if update.width == width:
            return


def test_what_is_typed_is_seen(machine: Cli) -> None:
    """Without any guest: a command of the monitor and its answer, read from a screenshot."""
    typed = "echo 'a~b' \\ {C}"
    with connect(machine.state.address) as connection:
        screen = connection.screen("gpu")
        assert machine("input", "type", typed).returncode == 0
        eventually(lambda: text_of(screen.pixels())[-1] == f"{PROMPT} {typed}")
        assert machine("input", "key", "ctrl+u").returncode == 0
        assert machine("input", "type", "uname\n").returncode == 0
        eventually(lambda: text_of(screen.pixels())[-1] == PROMPT)
        asked, answer = text_of(screen.pixels())[-3:-1]
        assert (asked, answer.split()[0]) == (f"{PROMPT} uname", "virtmesh")


def test_the_pointer_is_seen(machine: Cli) -> None:
    """Where a tablet and a mouse have moved it; only in a screenshot with the cursor."""
    with connect(machine.state.address) as connection:
        screen = connection.screen("gpu")

        def pointer_at(x: int, y: int) -> bool:
            """Say whether the first pixel that the cursor changes is there."""
            before, after = screen.pixels().data, screen.pixels(cursor=True).data
            rows = [after[n : n + 4] for n in range(0, SIZE, 4)]
            white = [n for n, one in enumerate(rows) if one[:3] == b"\xff\xff\xff"]
            # The second column of the arrow's third row is its first white pixel.
            return b"\xff\xff\xff" not in before and white[:1] == [(y + 2) * WIDTH + x + 1]

        assert machine("input", "move", "--to", "50%", "25%").returncode == 0
        eventually(lambda: pointer_at(round(0.5 * (WIDTH - 1)), round(0.25 * (HEIGHT - 1))))
        assert machine("input", "move", "-d", "mouse", "--", "-60", "20").returncode == 0
        eventually(
            lambda: pointer_at(round(0.5 * (WIDTH - 1)) - 60, round(0.25 * (HEIGHT - 1)) + 20)
        )


def test_the_driver_follows_the_screen(machine: Cli) -> None:
    """The kernel makes a framebuffer of the new size; off leaves it one of a size of its own."""
    with connect(machine.state.address) as connection:
        screen = connection.screen("gpu")
        flushes = screen.stats()[0].flushes
        assert machine("screen", "mode", "gpu", "400x300").returncode == 0
        eventually(
            lambda: screen.info()[0].picture == (400, 300) and screen.stats()[0].flushes > flushes
        )
        eventually(lambda: text_of(screen.pixels())[-1:] == [PROMPT])
        done = machine("screen", "mode", "gpu", "4095x4095", "--json")
        assert json.loads(done.stdout)["width"] == 4095
        eventually(lambda: screen.info()[0].mode == (4095, 4095))
        assert machine("screen", "mode", "gpu", "64x64").returncode == 0
        eventually(lambda: screen.info()[0].picture == (64, 64))
    assert "gpu" in machine("devices").stdout
    (state,) = (
        line.split()[1] for line in machine("devices").stdout.splitlines() if line[:4] == "gpu "
    )
    assert state == "ready"


def test_a_gpu_that_is_killed_comes_back(machine: Cli) -> None:
    """The kernel's driver begins anew, with a framebuffer of its own."""
    before = machine.process("gpu")
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: machine.process("gpu").restarts > before.restarts)
    eventually(lambda: machine("screen", "shot", "gpu", "back.png", "--force").returncode == 0)
    assert size_of((machine.folder / "back.png").read_bytes()) == ("PNG", (WIDTH, HEIGHT))
    with connect(machine.state.address) as connection:
        eventually(lambda: text_of(connection.screen("gpu").pixels())[-1:] == [PROMPT])
