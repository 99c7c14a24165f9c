"""Watching a screen: what updates say, and what a service can't do to a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import virtmesh_client
from tests.support.fake_display import FakeDisplay, change, fake_display, whole
from virtmesh_client.screen.update import Change, Picture, Update
from virtmesh_client.screen.watch import PIECES_MAX
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.errors import BadStream, DeviceLost, ShuttingDown
from virtmesh_common.gpu.errors import NoSuchScanout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.screen.screen import Screen

SECONDS = 20.0
FOUR = bytes(range(16))
"""A picture of 2x2."""
IMAGE = b"\x07" * (64 * 64 * 4)


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


def part(update: int, *changes: pb.Change, last: bool = True, flushes: int = 1) -> pb.WatchResponse:
    """Return an update of a picture of 2x2, or a piece of one."""
    return pb.WatchResponse(
        update=update, width=2, height=2, changes=changes, last=last, flushes=flushes
    )


def test_updates_make_the_picture(screen: Screen, display: FakeDisplay) -> None:
    """The whole, then parts, in as many pieces as there are; then another picture, and none."""
    display.messages = [
        whole(2, 2, FOUR),
        part(2, change(1, 0, 1, 2, b"abcdefgh"), last=False, flushes=0),
        part(2, change(0, 1, 1, 1, b"ABCD"), flushes=3),
        whole(1, 1, b"wxyz", update=3),
        whole(0, 0, b"", update=4),
    ]
    picture, seen = Picture(), []
    with screen.watch(updates_per_second=7) as updates:
        for update in updates:
            picture.apply(update)
            seen.append((picture.width, picture.height, bytes(picture.data), update.flushes))
            if update.number == 4:
                break
    assert seen == [
        (2, 2, FOUR, 0),
        (2, 2, FOUR[:4] + b"abcd" + b"ABCD" + b"efgh", 3),
        (1, 1, b"wxyz", 0),
        (0, 0, b"", 0),
    ]
    assert [(one.scanout, one.updates_per_second) for one in display.requests] == [(0, 7)]
    assert display.left.acquire(timeout=SECONDS)


def test_a_picture_needs_its_first_update() -> None:
    """A part of another one is refused."""
    later = Update(2, 2, 2, False, (Change(0, 0, 1, 1, b"abcd"),), None, 1)  # noqa: FBT003
    with pytest.raises(ValueError, match="from the first on"):
        Picture().apply(later)


@given(data=st.data())
def test_a_rectangle_goes_where_it_belongs(data: st.DataObject) -> None:
    """Pixel by pixel, of any size at any place."""
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    columns, rows = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    pixels = bytes(data.draw(st.binary(min_size=columns * rows * 4, max_size=columns * rows * 4)))
    picture = Picture()
    picture.apply(Update(1, width, height, True, (), None, 0))  # noqa: FBT003
    rectangle = Change(x, y, columns, rows, pixels)
    picture.apply(Update(2, width, height, False, (rectangle,), None, 1))  # noqa: FBT003
    for row in range(height):
        for column in range(width):
            at = (row * width + column) * 4
            inside = x <= column < x + columns and y <= row < y + rows
            start = ((row - y) * columns + column - x) * 4
            expected = pixels[start : start + 4] if inside else bytes(4)
            assert picture.data[at : at + 4] == expected


def test_the_cursor(screen: Screen, display: FakeDisplay) -> None:
    """Its image stays until another comes; a hot spot outside of it is moved inside."""
    moves = [
        pb.Cursor(visible=True, x=-5, y=6, hot_x=1, hot_y=2_000_000_000, image=IMAGE),
        pb.Cursor(visible=True, x=7, y=8),
        pb.Cursor(visible=False, x=7, y=8),
    ]
    display.messages = [
        whole(2, 2, FOUR, cursor=moves[0]),
        *(
            pb.WatchResponse(update=update, width=2, height=2, last=True, cursor=cursor)
            for update, cursor in enumerate(moves[1:], 2)
        ),
        part(4, change(0, 0, 1, 1, b"abcd")),
    ]
    with screen.watch() as updates:
        first, second, third, last = (next(updates).cursor for _ in range(4))
    assert first is not None
    assert (first.x, first.y, first.hot_x, first.hot_y, first.image) == (-5, 6, 1, 63, IMAGE)
    assert second is not None
    assert (second.x, second.visible, second.image) == (7, True, IMAGE)
    assert third is not None
    assert not third.visible
    assert last is None
    with screen.watch(cursor=False) as updates:
        assert [(one.number, one.cursor) for one in (next(updates), next(updates))] == [
            (1, None),
            (4, None),
        ]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([part(1)], "a part of a picture before the whole"),
        ([whole(2, 2, FOUR, update=2)], "update 2 where update 1 is due"),
        ([whole(2, 2, FOUR), part(3)], "update 3 where update 2 is due"),
        ([whole(1, 1, b"abcd"), part(2)], "a part of a picture before the whole"),
        ([whole(2, 2, FOUR, last=False), part(2)], "a piece of another update"),
        ([whole(2, 2, FOUR, last=False), whole(1, 2, b"")], "a piece of another update"),
        ([whole(16385, 1, b"")], "a picture of 16385x1 pixels, which is too large"),
        ([whole(2**32 - 1, 2**32 - 1, b"")], "which is too large"),
        ([whole(16384, 16384, b"")], "which is too large"),
        ([whole(2, 2, b"abcd")], "4 bytes for 4 pixels"),
        ([whole(2, 2, FOUR + b"x")], "17 bytes for 4 pixels"),
        ([whole(2, 2, b"", changes=[change(1, 1, 2, 1, b"abcdefgh")])], "at 1,1 in a picture"),
        ([whole(2, 2, b"", changes=[change(2**32 - 1, 0, 1, 1, b"abcd")])], "in a picture of 2x2"),
        ([whole(2, 2, b"", changes=[change(0, 0, 0, 1, b"")])], "a rectangle of 0x1"),
        ([whole(2, 2, FOUR, changes=[change(0, 0, 2, 2, FOUR)] * 2)], "more pixels than"),
        ([whole(2, 2, FOUR, cursor=pb.Cursor(image=b"abc"))], "a cursor of 3 bytes"),
    ],
)
def test_what_a_service_must_not_send(
    screen: Screen, display: FakeDisplay, messages: list[pb.WatchResponse], words: str
) -> None:
    """It is refused by name, and the stream is over."""
    display.messages = messages
    with pytest.raises(BadStream, match=words) as refused:
        list(screen.watch())
    assert refused.value.message.startswith("gpu0 sent ")
    assert display.left.acquire(timeout=SECONDS)


def test_an_update_without_an_end(screen: Screen, display: FakeDisplay) -> None:
    """A service that sends pieces for ever is left."""
    display.messages = [whole(2, 2, FOUR), part(2, last=False)]
    display.endless = True
    with screen.watch() as updates:
        next(updates)
        with pytest.raises(BadStream, match=f"more than {PIECES_MAX} pieces"):
            next(updates)
    assert display.left.acquire(timeout=SECONDS)


@pytest.mark.parametrize(
    ("size", "data", "words"),
    [
        (2, b"abcd", "gpu0 sent 4 bytes for 2x2 pixels"),
        (2**31, FOUR, "gpu0 sent 16 bytes for"),
        (2, b"", "gpu0 sent 0 bytes for 2x2"),
        (0, b"", "gpu0 sent no screenshot"),
    ],
)
def test_a_screenshot_of_another_size(
    screen: Screen, display: FakeDisplay, size: int, data: bytes, words: str
) -> None:
    """It is refused."""
    display.shot = [pb.ScreenshotResponse(width=size, height=size, data=data)]
    with pytest.raises(BadStream, match=words):
        screen.pixels()


@pytest.mark.parametrize("data", [b"", bytes(1 << 20)])
def test_a_screenshot_without_an_end(screen: Screen, display: FakeDisplay, data: bytes) -> None:
    """A service that sends pieces for ever is left."""
    display.shot = [pb.ScreenshotResponse(width=2, height=2, data=data)]
    display.endless = True
    with pytest.raises(BadStream, match="gpu0 sent a screenshot that is too large"):
        screen.shot()


@pytest.mark.parametrize(
    "error", [NoSuchScanout("there is none"), ShuttingDown("it stops"), DeviceLost("it is gone")]
)
def test_the_error_of_the_service(
    screen: Screen, display: FakeDisplay, error: NoSuchScanout | ShuttingDown | DeviceLost
) -> None:
    """It arrives as what it is, after the updates before it."""
    display.messages = [whole(2, 2, FOUR)]
    display.error = error
    with screen.watch() as updates:
        assert next(updates).is_new
        with pytest.raises(type(error), match=error.message):
            next(updates)


def test_a_stream_that_ends(screen: Screen, display: FakeDisplay) -> None:
    """It is over, in the middle of an update as well; the half of that is not told."""
    display.messages = [whole(2, 2, FOUR), part(2, last=False)]
    display.ends = True
    assert [one.number for one in screen.watch()] == [1]


def test_the_stream_is_closed_by_another_thread(screen: Screen, display: FakeDisplay) -> None:
    """Who waits gets its end, and the service loses a watcher."""
    display.messages = [whole(2, 2, FOUR)]

    async def look() -> list[int]:
        with screen.watch() as updates:
            first = await asyncio.to_thread(next, updates)
            waiting = asyncio.create_task(asyncio.to_thread(next, updates, None))
            updates.close()
            assert await asyncio.wait_for(waiting, SECONDS) is None
            return [first.number]

    assert asyncio.run(look()) == [1]
    assert display.left.acquire(timeout=SECONDS)


async def test_the_asyncio_face(served: tuple[FakeDisplay, str]) -> None:
    """It is iterated over without being awaited itself; cancelling ends the stream."""
    display, address = served
    display.messages = [whole(2, 2, FOUR), part(2, change(0, 0, 1, 1, b"abcd"))]
    async with await virtmesh_client.aconnect(address) as machine:
        picture = Picture()
        async with machine.screen("gpu0").watch() as updates:
            async for update in updates:
                picture.apply(update)
                if update.number == 2:
                    break
            assert bytes(picture.data) == b"abcd" + FOUR[4:]
            waiting = asyncio.ensure_future(anext(updates))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert await asyncio.to_thread(display.left.acquire, timeout=SECONDS)
