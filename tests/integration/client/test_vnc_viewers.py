"""Foreign VNC viewers: what they save is the machine's own picture, pixel by pixel.

vncdotool and asyncvnc are written in Python, each with an RFB of its own; gvnccapture is of
gtk-vnc, in C.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import asyncvnc
import pytest
from PIL import Image

import virtmesh_client
from tests.support.drawn_screen import drawn_screen
from tests.support.gpu_rig import opaque
from tests.support.vnc_rig import VncRig, vnc_rig
from virtmesh_client.vnc.password import check_password
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from tests.support.drawn_screen import DrawnScreen

WIDTH, HEIGHT = 333, 222
SECONDS = 60.0
FIRST_PORT = 5900
VNCDO = str(Path(sys.executable).with_name("vncdo"))
"""What vncdotool installs."""


def draw(drawn: DrawnScreen, seed: int) -> None:
    """Show noise, and a part of one colour and of two."""
    pixels = bytearray(Random(seed).randbytes(4 * WIDTH * HEIGHT))  # noqa: S311 - any will do
    pixels[: 80 * 4 * WIDTH] = b"\x20\x40\x80\xff" * (80 * WIDTH)
    pixels[90 * 4 * WIDTH : 91 * 4 * WIDTH] = b"\0\0\0\xff\xff\xff\xff\xff" * (WIDTH // 2) + bytes(
        4
    )
    drawn.show(WIDTH, HEIGHT, opaque(bytes(pixels)))


def to_rgb(file: bytes | Path) -> tuple[tuple[int, int], bytes]:
    """Return the size of a picture, and its pixels."""
    with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as image:
        return image.size, image.convert("RGB").tobytes()


async def shot(drawn: DrawnScreen) -> tuple[tuple[int, int], bytes]:
    """Return the machine's own picture."""
    async with await virtmesh_client.aconnect(drawn.address) as machine:
        return to_rgb(await machine.screen("gpu0").shot())


async def run(*command: object) -> None:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with time_limit(SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def display_of(rig: VncRig) -> str:
    """Return the address as programs of X name it."""
    host, port = rig.address
    return f"{host}:{port - FIRST_PORT}"


async def test_vncdotool_sees_the_picture(tmp_path: Path) -> None:
    """It asks for a password as well."""
    with drawn_screen(tmp_path) as drawn:
        draw(drawn, 1)
        async with vnc_rig(drawn.address, password=check_password("pass wor")) as rig:
            host, port = rig.address
            file = tmp_path / "seen.png"
            await run(VNCDO, "-s", f"{host}::{port}", "-p", "pass wor", "capture", file)
            assert to_rgb(file) == await shot(drawn)


async def test_asyncvnc_sees_the_picture(tmp_path: Path) -> None:
    """It reads zlib and Raw, and what changes."""
    with drawn_screen(tmp_path) as drawn:
        draw(drawn, 2)
        async with vnc_rig(drawn.address) as rig, asyncvnc.connect(*rig.address) as client:
            async with time_limit(SECONDS):
                seen = await client.screenshot()
            wanted = await shot(drawn)
            assert ((seen.shape[1], seen.shape[0]), seen[..., :3].tobytes()) == wanted


@pytest.mark.skipif(shutil.which("gvnccapture") is None, reason="gvncviewer is not installed")
async def test_gtk_vnc_sees_the_picture(tmp_path: Path) -> None:
    """It chooses among all encodings."""
    with drawn_screen(tmp_path) as drawn:
        draw(drawn, 3)
        async with vnc_rig(drawn.address) as rig:
            file = tmp_path / "seen.png"
            await run("gvnccapture", "--quiet", display_of(rig), file)
            assert to_rgb(file) == await shot(drawn)
