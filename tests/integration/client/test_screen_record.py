"""Recording a real GPU service to files, while a driver draws; other programs read the files."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import virtmesh_client
from tests.support.drawn_screen import DrawnScreen, drawn_screen
from tests.support.fake_display import fake_display, whole
from virtmesh_client.screen.aio import AsyncScreenRecording
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.errors import DeviceLost, VirtmeshError
from virtmesh_common.gpu.errors import NoPicture, NoSuchScanout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.screen.recording import ScreenRecording
    from virtmesh_client.screen.screen import Screen

    Picture = NDArray[np.uint8]

SECONDS = 30.0
WIDTH, HEIGHT = 321, 201
"""Odd, as few screens are: colours of films are stored for pairs of pixels."""


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[DrawnScreen]:
    """Serve a GPU, with a driver that draws."""
    with drawn_screen(tmp_path) as drawn:
        yield drawn


@pytest.fixture
def screen(drawn: DrawnScreen) -> Iterator[Screen]:
    """Connect to it."""
    with virtmesh_client.connect(drawn.address) as machine:
        yield machine.screen("gpu0")


def noise(width: int, height: int, seed: int) -> Picture:
    """Return rows of RGB, every pixel another."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def bgrx(pixels: Picture) -> bytes:
    """Return the pixels as a driver writes them."""
    height, width = pixels.shape[:2]
    return np.dstack([pixels[:, :, ::-1], np.zeros((height, width), np.uint8)]).tobytes()


def frames_of(path: Path) -> list[tuple[float, Picture]]:
    """Return time in seconds and RGB of all frames, as FFmpeg reads them."""
    with av.open(str(path)) as file:
        return [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24").astype(np.uint8))
            for frame in file.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def recording_threads() -> list[str]:
    """Return the names of the threads that recordings have."""
    names = ("virtmesh screen", "virtmesh video")
    return [one.name for one in threading.enumerate() if one.name in names]


def files_of(folder: Path) -> list[str]:
    """Return the names of films, also of those that are not whole."""
    return [one.name for one in folder.iterdir() if "film" in one.name or "partial" in one.name]


def test_an_apng_has_every_pixel(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """Pillow reads all frames as they were, and how long each was shown."""
    drawn.show(WIDTH, HEIGHT, bgrx(noise(WIDTH, HEIGHT, 0)))
    expected = [noise(WIDTH, HEIGHT, 0)]
    path = tmp_path / "film.apng"
    with screen.record(path, frames_per_second=1000) as recording, screen.watch() as updates:
        next(updates)
        for seed in range(1, 5):
            patch = noise(40, 30, seed)
            picture = expected[-1].copy()
            picture[seed * 10 : seed * 10 + 30, seed : seed + 40] = patch
            drawn.draw(seed, seed * 10, 40, 30, bgrx(patch))
            next(updates)
            expected.append(picture)
        done = recording.stop()
    assert recording.stop() == done
    assert (done.path, done.size_bytes) == (path, path.stat().st_size)
    with Image.open(path) as film:
        count = getattr(film, "n_frames", 1)
        assert count == done.frames
        seen, shown_ms = [], 0.0
        for index in range(count):
            film.seek(index)
            seen.append(np.asarray(film.convert("RGB")))
            shown_ms += film.info["duration"]
    assert shown_ms == pytest.approx(done.seconds * 1000, abs=2)
    assert (seen[0] == expected[0]).all()
    assert (seen[-1] == expected[-1]).all()
    assert all(any((one == other).all() for other in expected) for one in seen)
    assert files_of(tmp_path) == ["film.apng"]


def test_a_webm_is_a_film(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """FFmpeg reads it: the size, times that ascend, and about the colours."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    drawn.show(WIDTH, HEIGHT, bgrx(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    path = tmp_path / "film.webm"
    with screen.record(path) as recording:
        for colour in colours:
            drawn.draw(0, 0, WIDTH, HEIGHT, bgrx(np.full((HEIGHT, WIDTH, 3), colour, np.uint8)))
            screen.wait_still(0.1, timeout=SECONDS)
        drawn.show(WIDTH * 2, HEIGHT, bgrx(np.full((HEIGHT, WIDTH * 2, 3), 200, np.uint8)))
        screen.wait_still(0.1, timeout=SECONDS)
    done = recording.stop()
    frames = frames_of(path)
    times = [when for when, _ in frames]
    assert len(frames) == done.frames >= len(colours) + 2
    assert times[0] == 0
    assert times == sorted(set(times))
    assert times[-1] == pytest.approx(done.seconds)
    assert done.seconds > 0.5
    assert {picture.shape for _, picture in frames} == {(HEIGHT, WIDTH, 3)}
    middles = [picture[HEIGHT // 2, WIDTH // 2].astype(int) for _, picture in frames]
    for colour in (*colours, (200, 200, 200)):
        assert min(np.abs(middle - colour).max() for middle in middles) < 12
    # Another size is fitted in: half as high, with black above and below.
    last = frames[-1][1].astype(int)
    assert np.abs(last[HEIGHT // 2, 5] - 200).max() < 12
    assert last[10, WIDTH // 2].max() < 12


def test_the_cursor_is_in_the_film(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """Blended over the picture, cut off at its edge, unless it is not wanted."""
    drawn.show(WIDTH, HEIGHT, bgrx(np.full((HEIGHT, WIDTH, 3), 100, np.uint8)))
    drawn.show_cursor(-60, HEIGHT - 2, bytes((0, 0, 200, 128)) * 64 * 64)
    for name, cursor in (("with.png", True), ("without.png", False)):
        with screen.record(tmp_path / name, cursor=cursor):
            pass
    expected = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    ((_, plain), *_) = frames_of(tmp_path / "without.png")
    assert (plain == expected).all()
    # 128 of 255 of the cursor's red 200, and the rest of the picture's 100.
    expected[HEIGHT - 2 :, :4] = (150, 50, 50)
    ((_, drawn_in), *_) = frames_of(tmp_path / "with.png")
    assert (drawn_in == expected).all()


def test_a_slow_encoder_drops_frames(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """At so many a second, the newest picture is taken, and the last one is there."""
    drawn.show(WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
    path = tmp_path / "film.png"
    with screen.record(path, frames_per_second=5) as recording:
        for seed in range(100):
            drawn.draw(0, 0, 40, 30, bgrx(noise(40, 30, seed)))
        screen.wait_still(0.3, timeout=SECONDS)
    done = recording.stop()
    frames = frames_of(path)
    assert len(frames) <= math.ceil(done.seconds * 5) + 3
    assert (frames[-1][1][:30, :40] == noise(40, 30, 99)).all()


def test_a_recording_of_a_failed_test_is_kept(
    drawn: DrawnScreen, screen: Screen, tmp_path: Path
) -> None:
    """The error is that of the body."""
    drawn.show(WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
    with (
        pytest.raises(ZeroDivisionError),
        screen.record(tmp_path / "film.webm"),
    ):
        raise ZeroDivisionError
    assert len(frames_of(tmp_path / "film.webm")) == 2


def test_what_can_not_be_recorded(drawn: DrawnScreen, screen: Screen, tmp_path: Path) -> None:
    """It is said when the recording begins, if it can be, and no file is left."""
    with pytest.raises(ValueError, match=r"choose a name that ends in \.webm or \.apng"):
        screen.record(tmp_path / "film.mp4")
    for rate in (0, -1, math.nan, 1001):
        with pytest.raises(ValueError, match="frames a second: choose"):
            screen.record(tmp_path / "film.webm", frames_per_second=rate)
    there = tmp_path / "there.webm"
    there.write_text("mine")
    beginnings: list[tuple[Any, type[Exception]]] = [
        (screen.record(there), FileExistsError),
        (screen.record(tmp_path / "no" / "film.webm"), FileNotFoundError),
        (screen.record(tmp_path / "film.webm", scanout=3), NoSuchScanout),
    ]
    for recording, error in beginnings:
        with pytest.raises(error):
            recording.start()
    with pytest.raises(NoPicture, match="nothing was shown"), screen.record(tmp_path / "film.png"):
        pass
    assert there.read_text() == "mine"
    drawn.show(WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
    with screen.record(there, overwrite=True):
        pass
    assert len(frames_of(there)) == 2
    left = {one.name for one in tmp_path.iterdir() if not one.name.startswith("gpu0.sock")}
    assert left == {"there.webm"}


@pytest.mark.parametrize("name", ["film.webm", "film.png"])
def test_a_full_disk(drawn: DrawnScreen, screen: Screen, tmp_path: Path, name: str) -> None:
    """The error names the file, and nothing is left of it."""
    import resource  # noqa: PLC0415 - this test alone lowers a limit

    drawn.show(WIDTH, HEIGHT, bgrx(noise(WIDTH, HEIGHT, 1)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores SIGXFSZ
    recording = screen.record(tmp_path / name, frames_per_second=1000)
    recording.start()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        for seed in range(2, 300):
            drawn.draw(0, 0, WIDTH, HEIGHT, bgrx(noise(WIDTH, HEIGHT, seed)))
            if recording.wait(0):
                break
        with pytest.raises(OSError, match=name):
            recording.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one for one in tmp_path.iterdir() if "gpu0" not in one.name] == []


def test_a_screen_that_goes_away_for_good(tmp_path: Path) -> None:
    """What was recorded until then is kept, and the error says why there is no more."""
    with fake_display(tmp_path) as (display, address):
        display.messages = [whole(2, 2, bytes(16))]
        display.error = NoSuchScanout("there is none any more")
        with virtmesh_client.connect(address) as machine:
            recording = machine.screen("gpu0").record(tmp_path / "film.apng")
            with pytest.raises(NoSuchScanout), recording:
                assert recording.wait(SECONDS)
        assert len(frames_of(tmp_path / "film.apng")) >= 1
        display.messages, display.error = [], DeviceLost("it is gone")
        with (
            virtmesh_client.connect(address) as machine,
            pytest.raises(DeviceLost),
            machine.screen("gpu0").record(tmp_path / "none.apng"),
        ):
            pass
    assert not (tmp_path / "none.apng").exists()


def test_a_film_is_not_larger_than_a_screen(tmp_path: Path) -> None:
    """A picture that is, is made smaller."""
    with fake_display(tmp_path) as (display, address):
        display.messages = [whole(16384, 16, bytes(16384 * 16 * 4))]
        with (
            virtmesh_client.connect(address) as machine,
            machine.screen("gpu0").record(tmp_path / "film.png"),
        ):
            pass
    assert frames_of(tmp_path / "film.png")[0][1].shape == (4, 4096, 3)


def test_a_machine_that_is_closed_first(drawn: DrawnScreen, tmp_path: Path) -> None:
    """What was recorded until then is kept, and the error says that there is no more."""
    drawn.show(WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
    machine = virtmesh_client.connect(drawn.address)
    recording = machine.screen("gpu0").record(tmp_path / "film.apng")
    recording.start()
    machine.screen("gpu0").wait_still(0.1, timeout=SECONDS)
    machine.close()
    with pytest.raises(VirtmeshError):
        recording.stop()
    assert frames_of(tmp_path / "film.apng")
    assert files_of(tmp_path) == ["film.apng"]
    assert recording_threads() == []


def test_a_picture_that_only_the_last_look_has(tmp_path: Path) -> None:
    """It is a film of one frame."""
    with fake_display(tmp_path) as (display, address):
        display.messages = [whole(0, 0, b"")]
        display.shot = [pb.ScreenshotResponse(width=2, height=2, data=b"\x01\x02\x03\xff" * 4)]
        with virtmesh_client.connect(address) as machine:
            with machine.screen("gpu0").record(tmp_path / "film.apng") as recording:
                pass
            assert recording.stop().frames == 1
    ((when, picture),) = frames_of(tmp_path / "film.apng")
    assert when == 0
    assert (picture == (3, 2, 1)).all()


async def test_cancelling_the_beginning(tmp_path: Path) -> None:
    """While the first picture is awaited: nothing is left, and it does not take long."""
    with fake_display(tmp_path) as (display, address):
        async with await virtmesh_client.aconnect(address) as machine:

            async def record() -> None:
                async with machine.screen("gpu0").record(tmp_path / "film.webm"):
                    raise AssertionError("there is no picture to begin with")

            task = asyncio.ensure_future(record())
            assert await asyncio.to_thread(display.came.acquire, timeout=SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert recording_threads() == []
    assert files_of(tmp_path) == []


async def test_cancelling_as_it_begins(drawn: DrawnScreen, tmp_path: Path) -> None:
    """A beginning that has succeeded in that moment is undone."""
    await asyncio.to_thread(drawn.show, WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
    with virtmesh_client.connect(drawn.address) as machine:
        task: asyncio.Task[object]

        class Recording(AsyncScreenRecording):
            """Cancels the task that waits for the beginning, when that is over."""

            def __init__(self, recording: ScreenRecording) -> None:
                super().__init__(recording)
                start, loop = recording.start, asyncio.get_running_loop()

                def start_and_cancel() -> None:
                    start()
                    loop.call_soon_threadsafe(task.cancel)

                recording.start = start_and_cancel  # type: ignore[method-assign]

        blocking = machine.screen("gpu0").record(tmp_path / "film.webm")
        task = asyncio.ensure_future(Recording(blocking).__aenter__())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert recording_threads() == []
    assert files_of(tmp_path) == []


async def test_a_recording_with_asyncio(drawn: DrawnScreen, tmp_path: Path) -> None:
    """The event loop is free meanwhile; a cancelled task leaves a whole file."""
    await asyncio.to_thread(drawn.show, WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
    async with await virtmesh_client.aconnect(drawn.address) as machine:
        screen = machine.screen("gpu0")
        async with screen.record(tmp_path / "one.webm") as recording:
            await asyncio.to_thread(drawn.draw, 0, 0, 40, 30, bgrx(noise(40, 30, 1)))
            await screen.wait_still(0.1, timeout=SECONDS)
            done = await recording.stop()
        assert len(frames_of(tmp_path / "one.webm")) == done.frames

        begun = asyncio.Event()

        async def record() -> None:
            async with screen.record(tmp_path / "other.webm"):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.ensure_future(record())
        await begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert len(frames_of(tmp_path / "other.webm")) == 2
