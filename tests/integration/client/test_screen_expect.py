"""Waiting for pictures on a real GPU service, while a driver draws."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import virtmesh_client
from tests.support.drawn_screen import DrawnScreen, drawn_screen
from virtmesh_common.gpu.errors import ScreenTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.screen.screen import Screen

    Picture = NDArray[np.uint8]

SECONDS = 30.0
WIDTH, HEIGHT = 640, 480


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[DrawnScreen]:
    """Serve a GPU, with a driver that draws. It shows a black screen."""
    with drawn_screen(tmp_path) as drawn:
        drawn.show(WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
        yield drawn


@pytest.fixture
def screen(drawn: DrawnScreen) -> Iterator[Screen]:
    """Connect to it."""
    with virtmesh_client.connect(drawn.address) as machine:
        yield machine.screen("gpu0")


def noise(width: int, height: int, seed: int) -> Picture:
    """Return rows of RGB, every pixel another."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def put(drawn: DrawnScreen, x: int, y: int, pixels: Picture) -> None:
    """Draw rows of RGB."""
    height, width = pixels.shape[:2]
    bgrx = np.dstack([pixels[:, :, ::-1], np.zeros((height, width), np.uint8)])
    drawn.draw(x, y, width, height, bgrx.tobytes())


def read(path: str) -> Picture:
    """Return the pixels of a file."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


class Drawing:
    """Draws in a thread while the body waits."""

    def __init__(self, *steps: Any) -> None:
        self._steps = steps
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(SECONDS)

    def _run(self) -> None:
        while not self._over.is_set():
            self._steps[self.rounds % len(self._steps)]()
            self.rounds += 1


def test_a_picture_is_waited_for(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """It is found when it is drawn, exactly there; so is one that is cut out of a screenshot."""
    logo = noise(50, 20, 1)
    Image.fromarray(logo).save(tmp_path / "logo.png")
    with pytest.raises(ScreenTimeout):
        screen.expect(tmp_path / "logo.png", timeout=0, save_to=tmp_path)
    timer = threading.Timer(0.1, put, (drawn, 123, 45, logo))
    timer.start()
    match = screen.expect(str(tmp_path / "logo.png"), timeout=SECONDS)
    timer.join()
    assert (match.x, match.y, match.width, match.height) == (123, 45, 50, 20)
    assert (match.score, match.name, match.scanout) == (1.0, "logo.png", 0)
    assert match.picture == screen.pixels()
    (tmp_path / "shot.png").write_bytes(screen.shot())
    Image.fromarray(read(str(tmp_path / "shot.png"))[30:70, 100:200]).save(tmp_path / "part.png")
    match = screen.expect(tmp_path / "part.png", timeout=0, tolerance=0)
    assert (match.x, match.y, match.score) == (100, 30, 1.0)


def test_what_was_not_found(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """Three pictures say so, and the message says how near the nearest was, and where."""
    put(drawn, 0, 0, noise(WIDTH, HEIGHT, 2))
    there = noise(40, 30, 3)
    put(drawn, 300, 200, there)
    needle = there.copy()
    needle[:, 38:] = 255 - needle[:, 38:]
    Image.fromarray(needle).save(tmp_path / "log in!.png")
    with pytest.raises(ScreenTimeout) as failed:
        screen.expect(
            [noise(9, 9, 4), tmp_path / "log in!.png"], timeout=0.1, save_to=tmp_path / "evidence"
        )
    message, facts = failed.value.message, failed.value.metadata
    assert message.startswith("gpu0 did not show needle 0 or log in!.png within 0.1 s; the nearest")
    assert f"at 300,200 with a score of {float(facts['score']):.4f}, where 0.9800 is" in message
    assert (facts["x"], facts["y"]) == ("300", "200")
    files = [Path(facts[name]) for name in ("seen", "nearest", "difference")]
    assert [one.name for one in files] == [
        "log-in-seen.png",
        "log-in-nearest.png",
        "log-in-difference.png",
    ]
    assert all(str(one) in message for one in files)
    seen, nearest, difference = map(read, map(str, files))
    assert (seen[200:230, 300:340] == there).all()
    assert (seen.tobytes(), seen.shape) == (read_shot(screen).tobytes(), (HEIGHT, WIDTH, 3))
    assert (nearest[:, :40] == needle).all()
    assert (nearest[:, -40:] == there).all()
    assert not difference[:, :38].any()
    assert (difference[:, 38:] == np.abs(needle.astype(int) - there)[:, 38:]).all()


def read_shot(screen: Screen) -> Picture:
    """Return the pixels of the screen."""
    found = screen.pixels()
    rows = np.frombuffer(found.data, np.uint8).reshape(found.height, found.width, 4)
    return rows[:, :, 2::-1]


def test_tolerance(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """A picture of another brightness is found by who allows it."""
    logo = noise(50, 20, 5) // 2 + 50
    put(drawn, 9, 8, logo + 10)  # by 10 of 255: 0.0392
    options: dict[str, Any] = {"timeout": 0, "save_to": tmp_path}
    with pytest.raises(ScreenTimeout, match=r"score of 0\.9608, where 0\.9700 is wanted"):
        screen.expect(logo, tolerance=0.03, **options)
    match = screen.expect(logo, tolerance=0.04, **options)
    assert (match.x, match.y) == (9, 8)
    assert match.score == pytest.approx(1 - 10 / 255)


def test_mask_and_region(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """What is masked may change; what is outside of the region is not there."""
    clock = noise(60, 20, 6)
    put(drawn, 10, 10, clock)
    put(drawn, 400, 300, clock)
    needle, mask = clock.copy(), np.full((20, 60), 255, np.uint8)
    needle[5:15, 20:40], mask[5:15, 20:40] = 0, 0
    mask_rgb = np.dstack([mask] * 3)
    options: dict[str, Any] = {"timeout": 0, "tolerance": 0, "save_to": tmp_path}
    with pytest.raises(ScreenTimeout):
        screen.expect(needle, **options)
    assert screen.expect(needle, mask=mask_rgb, **options).x in {10, 400}
    found = screen.expect(needle, mask=mask_rgb, region=(320, 240, 320, 240), **options)
    assert (found.x, found.y) == (400, 300)
    with pytest.raises(ScreenTimeout, match="the nearest"):
        screen.expect(clock, region=(401, 300, 100, 100), **options)
    with pytest.raises(
        ScreenTimeout, match="the region 600,0,41,9 is outside of the screen of 640"
    ):
        screen.expect(clock, region=(600, 0, 41, 9), **options)
    with pytest.raises(ScreenTimeout, match="a needle of 60x20 has no room in the region of 59x20"):
        screen.expect(clock, region=(0, 0, 59, 20), **options)
    with pytest.raises(
        ScreenTimeout, match="a needle of 641x2 has no room in the screen of 640x48"
    ):
        screen.expect(noise(641, 2, 7), **options)


def test_something_else_moves(drawn: DrawnScreen, screen: Screen) -> None:
    """An animation beside it neither hides the picture nor is taken for it."""
    logo = noise(50, 20, 8)
    frames = [noise(64, 64, seed) for seed in range(9, 13)]
    moves = [lambda frame=frame: put(drawn, 500, 400, frame) for frame in frames]
    with Drawing(*moves) as drawing:
        while drawing.rounds < len(frames):
            pass  # Each round is drawn by the GPU.
        timer = threading.Timer(0.2, put, (drawn, 33, 44, logo))
        timer.start()
        match = screen.expect([frames[0][:, ::-1], logo], timeout=SECONDS)
        timer.join()
        assert (match.x, match.y, match.score, match.needle) == (33, 44, 1.0, 1)
        still = screen.wait_still(0.3, timeout=SECONDS, region=(0, 0, 500, 400))
        assert still.at(33, 44) == tuple(logo[0, 0])
        with pytest.raises(ScreenTimeout):
            screen.wait_still(SECONDS, timeout=0.2)
    assert screen.wait_still(0.1, timeout=SECONDS) == screen.pixels()


async def test_many_wait_with_asyncio(drawn: DrawnScreen) -> None:
    """The event loop runs while they search, and all of them find theirs."""
    needles = [noise(20, 20, seed) for seed in range(20, 24)]
    async with await virtmesh_client.aconnect(drawn.address) as machine:
        screen = machine.screen("gpu0")
        waiting = [
            asyncio.ensure_future(screen.expect(needle, timeout=SECONDS)) for needle in needles
        ]
        for index, needle in enumerate(needles):
            await asyncio.to_thread(put, drawn, index * 100, index, needle)
        found = await asyncio.gather(*waiting)
        assert [(one.x, one.y) for one in found] == [(index * 100, index) for index in range(4)]
        still = await screen.wait_still(0.05, timeout=SECONDS)
        assert still == await screen.pixels()
        while (await screen.stats())[0].watchers:
            pass  # Each look is a call.
