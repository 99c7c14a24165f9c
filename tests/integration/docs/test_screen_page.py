"""The examples of docs/screen.md, run with a real GPU service and a driver that draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image

from tests.support import ROOT
from tests.support.docs import run_page
from tests.support.drawn_screen import drawn_screen

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "screen.md"
WIDTH, HEIGHT = 640, 400


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They find the needles that were cut out of the screen, and leave a film."""
    rows = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    image = Image.fromarray(np.ascontiguousarray(rows[:, :, 2::-1]))
    image.crop((100, 50, 220, 110)).save(tmp_path / "login.png")
    image.crop((300, 300, 340, 340)).save(tmp_path / "welcome.png")
    image.rotate(180).save(tmp_path / "desktop.png")
    with drawn_screen(tmp_path) as drawn:
        drawn.show(WIDTH, HEIGHT, rows.tobytes())
        monkeypatch.setenv("VIRTMESH_ADDRESS", drawn.address)
        monkeypatch.chdir(tmp_path)
        run_page(PAGE)
    printed = [line for line in capsys.readouterr().out.splitlines() if " [info " not in line]
    blue, green, red, _ = map(int, rows[20, 10])
    assert printed[:4] == [
        f"{WIDTH} {HEIGHT} {(red, green, blue)}",
        f"1 1 {WIDTH * HEIGHT * 4} {WIDTH}",
        "100 50 (160, 80) 1.0",
        f"{WIDTH} {HEIGHT}",
    ]
    with av.open(str(tmp_path / "boot.webm")) as film:
        assert sum(1 for _ in film.decode(video=0)) == int(printed[4])
