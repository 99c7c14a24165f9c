"""Waiting for a screen whose service a test plays: what comes back, what ends, what is bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import virtmesh_client
from tests.support.fake_display import FakeDisplay, change, fake_display, whole
from tests.support.gpu_rig import opaque
from virtmesh_client.screen.latest import LatestPicture
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.errors import BadStream, DeviceLost, ShuttingDown, VirtmeshError
from virtmesh_common.gpu.errors import NoSuchScanout, ScreenTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.screen.screen import Screen

SECONDS = 20.0
SIDE = 8
BLACK = opaque(bytes(SIDE * SIDE * 4))
WHITE = b"\xff" * 16
NEEDLE = np.full((2, 2, 3), 255, np.uint8)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[FakeDisplay, str]]:
    """Serve a display to script."""
    with fake_display(tmp_path) as served:
        yield served


@pytest.fixture
def display(served: tuple[FakeDisplay, str]) -> FakeDisplay:
    """Return the display."""
    return served[0]


@pytest.fixture
def screen(served: tuple[FakeDisplay, str]) -> Iterator[Screen]:
    """Connect to it."""
    with virtmesh_client.connect(served[1]) as machine:
        yield machine.screen("gpu0")


def part(update: int, *changes: pb.Change) -> pb.WatchResponse:
    """Return an update of the picture."""
    return pb.WatchResponse(
        update=update, width=SIDE, height=SIDE, changes=changes, last=True, flushes=1
    )


@pytest.mark.parametrize("error", [ShuttingDown("it stops"), DeviceLost("it is gone")])
def test_a_service_that_comes_back(
    screen: Screen, display: FakeDisplay, error: VirtmeshError
) -> None:
    """The new process is watched as well, from its whole picture on."""
    display.messages = [whole(SIDE, SIDE, BLACK)]
    display.error = error
    display.next_messages = [
        whole(SIDE, SIDE, BLACK),
        part(2, change(3, 4, 2, 2, WHITE)),
    ]
    match = screen.expect(NEEDLE, timeout=SECONDS)
    assert (match.x, match.y, match.score, len(display.requests)) == (3, 4, 1.0, 2)
    assert match.center == (4, 5)
    assert display.left.acquire(timeout=SECONDS)
    assert display.left.acquire(timeout=SECONDS)


def test_a_pause_before_each_attempt(
    screen: Screen, display: FakeDisplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is away is not flooded, not even by who is in a hurry."""
    display.messages = [whole(SIDE, SIDE, BLACK)]
    display.error = DeviceLost("it is gone")
    monkeypatch.setattr("virtmesh_client.screen.latest.RETRY_SECONDS", 3600)
    with LatestPicture(screen.watch) as latest:
        latest.hurry()
        assert display.left.acquire(timeout=SECONDS)
        assert display.came.acquire(timeout=0)
        assert not display.came.acquire(timeout=0.3)
    assert len(display.requests) == 1


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], DeviceLost("it is gone")),
        ([], NoSuchScanout("there is none")),
        ([whole(SIDE, SIDE, BLACK)], NoSuchScanout("there is none")),
        ([whole(SIDE, SIDE, b"abcd")], BadStream("gpu0 sent")),
    ],
)
@pytest.mark.parametrize("call", ["expect", "wait_still"])
def test_what_ends_the_wait(
    screen: Screen,
    display: FakeDisplay,
    messages: list[pb.WatchResponse],
    error: VirtmeshError,
    call: str,
) -> None:
    """A screen that was never there, and what no waiting mends: at once, without a time limit."""
    display.messages = messages
    display.error = error
    arguments: dict[str, tuple[Any, ...]] = {"expect": (NEEDLE,), "wait_still": (1e6,)}
    with pytest.raises(type(error), match=error.message):
        getattr(screen, call)(*arguments[call], timeout=None)


def test_a_screen_that_shows_nothing(screen: Screen, display: FakeDisplay) -> None:
    """There is nothing to find, or to save, and it is not still."""
    display.messages = [whole(0, 0, b"")]
    with pytest.raises(ScreenTimeout, match="gpu0 did not show needle 0 within 0 s: it showed not"):
        screen.expect(NEEDLE, timeout=0)
    with pytest.raises(ScreenTimeout, match=r"not still for 0.01 s within 0.1 s: it shows nothing"):
        screen.wait_still(0.01, timeout=0.1)


@pytest.mark.parametrize("call", ["expect", "wait_still"])
def test_a_service_that_does_not_answer(
    screen: Screen, display: FakeDisplay, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It is not said to show nothing."""
    monkeypatch.setattr("virtmesh_client.screen.latest.FIRST_SECONDS", 0.2)
    arguments: dict[str, Any] = {"expect": NEEDLE, "wait_still": 1}
    with pytest.raises(ScreenTimeout, match=r"within 0 s: no picture came within 0.2 s$"):
        getattr(screen, call)(arguments[call], timeout=0)
    with pytest.raises(ScreenTimeout, match=r"within 0.3 s: no picture came within 0.3 s$"):
        getattr(screen, call)(arguments[call], timeout=0.3)
    assert display.messages == ()


def test_a_look_without_time(screen: Screen, display: FakeDisplay) -> None:
    """Its first picture is awaited, however short the limit is."""
    display.messages = [whole(SIDE, SIDE, BLACK)]
    assert screen.wait_still(0, timeout=0).data == BLACK
    with pytest.raises(ScreenTimeout, match=r"not still for 30 s within 0 s$"):
        screen.wait_still(30, timeout=0)


def test_a_screen_that_is_too_large(
    screen: Screen, display: FakeDisplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not searched: that would take all memory."""
    monkeypatch.setattr("virtmesh_client.screen.expect.PIXELS_MAX", SIDE * SIDE - 1)
    display.messages = [whole(SIDE, SIDE, BLACK)]
    with pytest.raises(ScreenTimeout, match="within 0 s: 8x8 pixels are too many"):
        screen.expect(NEEDLE, timeout=0)


def test_half_a_picture_is_not_searched(screen: Screen, display: FakeDisplay) -> None:
    """The driver has shown another one while it was sent: that comes next."""
    white = b"\xff" * len(BLACK)
    half = change(0, 0, SIDE, SIDE // 2, white[: len(white) // 2])
    display.messages = [whole(SIDE, SIDE, b"", changes=[half]), whole(SIDE, SIDE, white, update=2)]
    with pytest.raises(ScreenTimeout, match=r"with a score of 0\.0000"):
        screen.expect(np.zeros((2, 2, 3), np.uint8), timeout=0)
    assert screen.wait_still(0).data == white


def test_what_is_drawn_again_is_still(screen: Screen, display: FakeDisplay) -> None:
    """Flushes of the same pixels change nothing, and they come for ever."""
    display.messages = [
        whole(SIDE, SIDE, BLACK),
        *(part(number, change(0, 0, 2, 2, BLACK[:16])) for number in range(2, 500)),
    ]
    assert screen.wait_still(0.2, timeout=SECONDS).data == BLACK


def test_a_screen_that_is_never_still(screen: Screen, display: FakeDisplay) -> None:
    """The limit holds, however much comes; a part of it that is still is enough."""
    colours = (WHITE, BLACK[:16])
    display.blinking = [change(6, 6, 2, 2, one) for one in colours]
    display.messages = [whole(SIDE, SIDE, BLACK)]
    with pytest.raises(ScreenTimeout, match=r"gpu0 was not still for 30 s within 0.3 s$"):
        screen.wait_still(30, timeout=0.3)
    seen = screen.wait_still(0.2, timeout=SECONDS, region=(0, 0, 6, 8))
    assert seen.at(0, 0) == (0, 0, 0)
    with pytest.raises(ScreenTimeout, match="the region is outside of the screen of 8x8"):
        screen.wait_still(0.1, timeout=0.2, region=(0, 0, 9, 8))


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": -1},
        {"timeout": float("nan")},
        {"tolerance": -0.1},
        {"tolerance": 1.1},
        {"tolerance": float("nan")},
        {"region": (-1, 0, 1, 1)},
        {"region": (0, 0, 0, 1)},
    ],
)
def test_impossible_values(screen: Screen, display: FakeDisplay, arguments: dict[str, Any]) -> None:
    """They are refused before anything is watched."""
    with pytest.raises(ValueError, match=r"is no |it is 0 to 1"):
        screen.expect(NEEDLE, **arguments)
    if "tolerance" not in arguments:
        with pytest.raises(ValueError, match="is no "):
            screen.wait_still(**arguments)
    with pytest.raises(ValueError, match="is no time"):
        screen.wait_still(-1)
    assert display.requests == []


@pytest.mark.parametrize("call", ["expect", "wait_still"])
async def test_cancelling_ends_the_watch(served: tuple[FakeDisplay, str], call: str) -> None:
    """While it waits without a limit, the event loop is free, and nothing is left of it."""
    display, address = served
    display.messages = [whole(SIDE, SIDE, BLACK)]
    async with await virtmesh_client.aconnect(address) as machine:
        screen = machine.screen("gpu0")
        arguments: dict[str, tuple[Any, ...]] = {"expect": (NEEDLE,), "wait_still": (1e6,)}
        waiting = asyncio.ensure_future(getattr(screen, call)(*arguments[call], timeout=None))
        assert await asyncio.to_thread(display.came.acquire, timeout=SECONDS)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(display.left.acquire, timeout=SECONDS)


def test_closing_the_machine_ends_the_wait(served: tuple[FakeDisplay, str]) -> None:
    """With an error, not with a thread that waits for ever."""
    display, address = served
    display.messages = [whole(SIDE, SIDE, BLACK)]

    async def close() -> None:
        machine = virtmesh_client.connect(address)
        waiting = asyncio.create_task(
            asyncio.to_thread(machine.screen("gpu0").expect, NEEDLE, timeout=None)
        )
        assert await asyncio.to_thread(display.came.acquire, timeout=SECONDS)
        machine.close()
        with pytest.raises(VirtmeshError):
            await asyncio.wait_for(waiting, SECONDS)

    asyncio.run(close())
