"""The end of the demo: text on a screen, read from the file of a screenshot."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tools.tour import VIRTMESH
from virtmesh.testing.screen_text import UNKNOWN, read_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.tour import Tour

PROMPT = "virtmesh> "
SECONDS = 30.0
"""Longest wait for the answer of the monitor."""
SHOT = Path(__file__).resolve().parent.parent / "build" / "demo.png"
"""The screenshot that the tour leaves."""


def look(tour: Tour, devices: int, mode: tuple[int, int], moved_by: tuple[int, int]) -> None:
    """Type to the monitor on the screen, and read the file of a screenshot.

    `moved_by` is how far the mouse has moved since the machine was started.
    """
    tour.step("10. The screen: the same monitor, typed to on the keyboard, read from a picture")
    before = f"{PROMPT}lsdev"
    tour.run(VIRTMESH, "input", "key", "ctrl+u", "ctrl+l", "-d", "keyboard")
    tour.run(VIRTMESH, "input", "type", "lsdev\n", "--wait", "delivered", "-d", "keyboard")
    lines = read_shot(tour)
    deadline = time.monotonic() + SECONDS
    while not (before in lines and lines[-1] == PROMPT.rstrip()) and time.monotonic() < deadline:
        lines = read_shot(tour, show=False)
    tour.show("\n".join(lines))
    ready = (
        sum(" ready " in line for line in lines[lines.index(before) :]) if before in lines else 0
    )
    tour.check(f"the screenshot says that {ready} devices are ready", passed=ready == devices)
    unknown = sum(line.count(UNKNOWN) for line in lines)
    tour.check("every glyph in it is one of the font", passed=bool(lines) and not unknown)
    (screen,) = json.loads(tour.run(VIRTMESH, "screen", "info", "gpu", "--json").stdout)
    wanted = [
        middle + moved for middle, moved in zip((mode[0] // 2, mode[1] // 2), moved_by, strict=True)
    ]
    tour.check(
        f"the pointer is where the mouse moved it: {wanted}", passed=screen["cursor"] == wanted
    )
    tour.console.print(f"the screenshot: {SHOT}")


def read_shot(tour: Tour, *, show: bool = True) -> Sequence[str]:
    """Take a screenshot, and read the lines in its file that are not empty."""
    SHOT.parent.mkdir(exist_ok=True)
    command = (VIRTMESH, "screen", "shot", "gpu", str(SHOT), "--force")
    if show:
        tour.run(*command)
    else:
        subprocess.run(command, cwd=tour.folder, capture_output=True, check=True)
    with Image.open(SHOT) as image:
        pixels = image.convert("RGBA").tobytes("raw", "BGRA")
        return [line for line in read_screen(image.width, image.height, pixels) if line]


def invite(tour: Tour) -> None:
    """Say how to go on with the machine, which stays up."""
    setting = f"VIRTMESH_RUN_DIR={shlex.quote(os.environ['VIRTMESH_RUN_DIR'])}"
    asked = subprocess.run([VIRTMESH, "panel", "--help"], capture_output=True, check=False)
    has_panel = asked.returncode == 0
    tour.console.print("the machine stays up:")
    ways = (
        ("panel", "in a browser; it says where"),
        ("console", "its monitor"),
        ("down", "the end"),
    )
    for command, what in ways[not has_panel :]:
        tour.console.print(f"  {setting} virtmesh {command:8}# {what}", markup=False)
