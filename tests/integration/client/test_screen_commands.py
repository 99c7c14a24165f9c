"""`virtmesh screen watch`, `expect`, `wait-still` and `record` on a real GPU service."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image

import virtmesh_client
from tests.support.cli import Cli, eventually
from tests.support.drawn_screen import DrawnScreen, drawn_screen
from virtmesh_client.cli.errors import CLOSED, ERROR, INTERRUPTED, OK, TIMED_OUT, USAGE
from virtmesh_client.cli.run import run as run_command_line

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes

SECONDS = 30.0
WIDTH, HEIGHT = 320, 240
LINE = ["2", "320x240", "20x10+100+50", "800", "bytes", "1", "flushes"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawnScreen]:
    """Serve a GPU, with a driver that draws."""
    with drawn_screen(tmp_path_factory.mktemp("gpu")) as drawn:
        drawn.show(WIDTH, HEIGHT, bytes(WIDTH * HEIGHT * 4))
        drawn.draw(100, 50, 20, 10, bgrx(1))
        yield drawn


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return the command line, in a folder with needles: there, and not there."""
    for seed, name in ((1, "there.png"), (2, "absent.png")):
        Image.fromarray(noise(seed)).save(tmp_path / name)
    Image.new("RGB", (WIDTH + 1, 5)).save(tmp_path / "wide.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "there.png").read_bytes()[:70])
    return Cli(tmp_path)


def noise(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return 20x10 pixels of RGB, every one another."""
    return np.random.default_rng(seed).integers(0, 256, (10, 20, 3), np.uint8)


def bgrx(seed: int) -> bytes:
    """Return them as a driver writes them."""
    return np.dstack([noise(seed)[:, :, ::-1], np.zeros((10, 20), np.uint8)]).tobytes()


@dataclass
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(
    drawn: DrawnScreen,
    cli: Cli,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Return what runs a command of `virtmesh screen` in this process, in the folder of `cli`."""
    monkeypatch.chdir(cli.folder)

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        status = run_command_line(["--address", drawn.address, "screen", *arguments])
        captured = capfd.readouterr()
        # The service of the GPU is in this process, and logs to its standard output.
        lines = [line for line in captured.out.splitlines(keepends=True) if " [info " not in line]
        return Done(status, "".join(lines), captured.err)

    return run


def test_a_picture_is_found(run: Run) -> None:
    """The line says where; the object too."""
    done = run("expect", "gpu0", "there.png")
    assert (done.returncode, done.stderr) == (OK, "")
    assert done.stdout == "there.png is at 100,50: 20x10 pixels, with a score of 1.0000\n"
    done = run("expect", "gpu0", "absent.png", "there.png", "--region", "90,40,30,20", "--json")
    told = json.loads(done.stdout)
    assert (told["needle"], told["x"], told["y"], told["score"]) == ("there.png", 100, 50, 1.0)


def test_a_picture_is_not_found(run: Run, cli: Cli) -> None:
    """A status of its own, one line, and three files where they were asked for."""
    done = run(
        "expect",
        "gpu0",
        "absent.png",
        "--timeout",
        "0.1",
        "--save-to",
        "seen",
        "--json",
    )
    assert (done.returncode, done.stdout) == (TIMED_OUT, ""), done.stderr
    error = json.loads(done.stderr)["error"]
    assert (error["reason"], error["exit_status"]) == ("SCREEN_TIMEOUT", TIMED_OUT)
    assert "gpu0 did not show absent.png within 0.1 s; the nearest is" in error["message"]
    names = {f"absent-{one}.png" for one in ("seen", "nearest", "difference")}
    assert {one.name for one in (cli.folder / "seen").iterdir()} == names
    with Image.open(cli.folder / error["metadata"]["seen"]) as seen:
        assert seen.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("text.png",), ERROR, "text.png is not a PNG file"),
        (("cut.png",), ERROR, "cut.png is a PNG file that can't be read: it is damaged"),
        (("nothing.png",), ERROR, "nothing.png: No such file or directory"),
        (
            ("there.png", "--mask", "wide.png"),
            ERROR,
            "the mask wide.png has 321x5 pixels, and there.png has",
        ),
        (("there.png", "--mask", "text.png"), ERROR, "the mask text.png is not a PNG file"),
        (("wide.png",), TIMED_OUT, "a needle of 321x5 has no room in the screen of 320x240"),
        (
            ("there.png", "--region", "310,0,11,9"),
            TIMED_OUT,
            "the region 310,0,11,9 is outside of the screen of 320x240",
        ),
        (("there.png", "--region", "1,2,3"), USAGE, "is no region: write X,Y,WIDTH,HEIGHT"),
        (("there.png", "--region", "1,2,0,4"), USAGE, "is no region"),
        (("there.png", "--tolerance", "2"), USAGE, "2.0 is not in the range"),
        (("there.png", "--timeout", "nan"), USAGE, "nan is not a number of seconds"),
        (("there.png", "--scanout", "3"), ERROR, "gpu0 has no scanout 3"),
        ((), USAGE, "Missing argument 'NEEDLE...'"),
    ],
)
def test_wrong_needles(run: Run, arguments: tuple[str, ...], status: int, words: str) -> None:
    """One line says what is wrong."""
    timeout = () if "--timeout" in arguments else ("--timeout", "0")
    done = run("expect", "gpu0", *arguments, *timeout)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_still_screen(run: Run) -> None:
    """It is waited for; one that is not there is a time-out."""
    done = run("wait-still", "gpu0", "--seconds", "0.05")
    assert (done.returncode, done.stdout) == (OK, "gpu0: screen 0 of 320x240 is still\n")
    done = run("wait-still", "gpu0", "--seconds", "9", "--timeout", "0.1", "--json")
    assert done.returncode == TIMED_OUT
    assert "gpu0 was not still for 9 s within 0.1 s" in json.loads(done.stderr)["error"]["message"]


def test_updates_are_lines(drawn: DrawnScreen, cli: Cli, run: Run) -> None:
    """One for each: the size, the rectangles, the bytes, the flushes."""
    command = ("--address", drawn.address, "screen", "watch", "gpu0")
    with cli.spawn(*command, "--updates", "2") as process:
        assert process.stdout is not None
        first = process.stdout.readline().decode()
        assert first.split()[:5] == ["1", "320x240", "new", "picture", "320x240+0+0"]
        drawn.draw(100, 50, 20, 10, bgrx(1))
        out, _ = process.communicate(timeout=SECONDS)
        assert out.decode().split() == LINE
        assert process.returncode == OK
    done = run("watch", "gpu0", "--seconds", "0.2", "--json")
    assert done.returncode == OK
    (told,) = map(json.loads, done.stdout.splitlines())
    assert (told["rectangles"], told["bytes"]) == ([[0, 0, WIDTH, HEIGHT]], WIDTH * HEIGHT * 4)
    assert (told["is_new"], told["update"]) == (True, 1)


def test_ctrl_c_ends_a_watch(drawn: DrawnScreen, cli: Cli) -> None:
    """As it ends other commands that go on for ever."""
    with cli.spawn("--address", drawn.address, "screen", "watch", "gpu0") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=SECONDS)
        assert process.returncode == INTERRUPTED


def test_ctrl_c_ends_a_wait(drawn: DrawnScreen, cli: Cli) -> None:
    """While nothing comes from the screen; no files are left of it."""
    command = ("expect", "gpu0", "absent.png", "--timeout", "1e6", "--save-to", "seen")
    with (
        virtmesh_client.connect(drawn.address) as machine,
        cli.spawn("--address", drawn.address, "screen", *command) as process,
    ):
        eventually(lambda: machine.screen("gpu0").stats()[0].watchers)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (INTERRUPTED, b"virtmesh: interrupted\n")
    assert not (cli.folder / "seen").exists()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_a_recording(drawn: DrawnScreen, cli: Cli, stop: signal.Signals) -> None:
    """The file is whole, and has what was drawn last."""
    command = ("--address", drawn.address, "screen", "record", "gpu0", "film.apng")
    with cli.spawn(*command) as process:
        assert process.stderr is not None
        assert b"press Ctrl-C to stop" in process.stderr.readline()
        drawn.draw(100, 50, 20, 10, bgrx(3))
        process.send_signal(stop)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, err) == (OK, b"")
    drawn.draw(100, 50, 20, 10, bgrx(1))
    assert out.decode().startswith("film.apng: ")
    with av.open(str(cli.folder / "film.apng")) as file:
        *_, last = file.decode(video=0)
        assert (last.to_ndarray(format="rgb24")[50:60, 100:120] == noise(3)).all()


def test_a_recording_for_a_time(cli: Cli, run: Run) -> None:
    """It is about as long; a file that is there, or of another kind, is refused."""
    done = run("record", "gpu0", "film.webm", "--seconds", "0.3", "--json")
    assert done.returncode == OK, done.stderr
    told = json.loads(done.stdout)
    assert told["seconds"] >= 0.3
    assert told["bytes"] == (cli.folder / "film.webm").stat().st_size
    done = run("record", "gpu0", "film.webm", "--seconds", "1")
    assert (done.returncode, "--force replaces a file" in done.stderr) == (ERROR, True)
    done = run("record", "gpu0", "film.avi")
    assert (done.returncode, "ends in .webm or .apng" in done.stderr) == (USAGE, True)


def test_a_needle_that_comes_later(drawn: DrawnScreen, run: Run) -> None:
    """The command waits for it."""
    timer = threading.Timer(0.3, drawn.draw, (5, 6, 20, 10, bgrx(2)))
    timer.start()
    done = run("expect", "gpu0", "absent.png", "--timeout", "20")
    timer.join()
    drawn.draw(5, 6, 20, 10, bytes(800))
    assert done.stdout.startswith("absent.png is at 5,6: "), done.stderr


def test_a_still_screen_is_watched_until_nobody_reads(drawn: DrawnScreen, cli: Cli) -> None:
    """As by `head -1`: nothing has to change on the screen."""
    with cli.spawn("--address", drawn.address, "screen", "watch", "gpu0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"320x240" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(SECONDS) == CLOSED
        assert process.stderr.read() == b""
