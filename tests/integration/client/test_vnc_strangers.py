"""VNC viewers that have no right to be there, are silent, lie, or never read."""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.drawn_screen import DrawnScreen, drawn_screen
from tests.support.rfb_decoders import Format
from tests.support.rfb_viewer import (
    CURSOR,
    FENCE,
    RAW,
    ZRLE,
    Refused,
    connected,
    viewing,
)
from tests.support.vnc_rig import vnc_rig
from virtmesh_client.vnc import serve_viewer
from virtmesh_client.vnc.password import answer_challenge
from virtmesh_client.vnc.server import STRANGERS
from virtmesh_client.vnc.turns import TURN_READS

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT = 64, 48
PICTURE = b"\1\2\3\4" * (WIDTH * HEIGHT)
PASSWORD = b"secret"
SECONDS = 300.0
"""Longer than any test."""
VERSIONS = [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrawnScreen]:
    """Serve a GPU that shows a picture."""
    with drawn_screen(tmp_path_factory.mktemp("gpu")) as drawn:
        drawn.show(WIDTH, HEIGHT, PICTURE)
        yield drawn


def right(challenge: bytes) -> bytes:
    """Answer as who knows the password."""
    return answer_challenge(challenge, PASSWORD)


@pytest.mark.parametrize("version", [*VERSIONS, b"RFB 003.005\n", b"RFB 003.889\n"])
async def test_every_version(drawn: DrawnScreen, version: bytes) -> None:
    """3.3, 3.7 and 3.8 are spoken; an odd one is taken for the one below it."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, version=version) as viewer:
        viewer.ask()
        await viewer.update()
        assert viewer.rows[0][0] == (3, 2, 1)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_password(drawn: DrawnScreen, version: bytes) -> None:
    """Who knows it gets in; others don't, and the next answer takes longer."""
    async with vnc_rig(drawn.address, password=PASSWORD) as rig:
        async with connected(rig.address) as viewer:
            await viewer.shake_hands(version, right)
            viewer.ask()
            await viewer.update()
        async with connected(rig.address) as stranger:
            with pytest.raises(Refused):
                await stranger.shake_hands(version, lambda challenge: challenge)
            assert await stranger.end() == b""
        await rig.until_told("wrong password")
        async with connected(rig.address) as again:
            await again.shake_hands(version, right)


async def test_a_viewer_that_ignores_the_password(drawn: DrawnScreen) -> None:
    """It can't choose another security type."""
    async with vnc_rig(drawn.address, password=PASSWORD) as rig:
        async with connected(rig.address) as stranger:
            await stranger.read(12)
            stranger.writer.write(b"RFB 003.008\n\1\1")
            assert await stranger.end() == b"\1\2"
        await rig.until_told("it chose security type 1, and 2 is offered")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it does not speak RFB"),
        (b"RFB 002.000\n", "its version 2.0 is too old"),
        (b"RFB 003.0", "it left"),
        (b"", "it left"),
        (b"RFB 003.008\n\1", "it left"),
    ],
)
async def test_who_is_no_viewer(drawn: DrawnScreen, said: bytes, words: str) -> None:
    """The reason is told, and the connection closed."""
    async with vnc_rig(drawn.address) as rig:
        async with connected(rig.address) as stranger:
            stranger.writer.write(said)
            stranger.writer.write_eof()
            await stranger.end()
        await rig.until_told(words)


@pytest.mark.parametrize("said", [b"", b"RFB 003", b"RFB 003.008\n", b"RFB 003.008\n\1"])
async def test_a_silent_stranger(drawn: DrawnScreen, said: bytes) -> None:
    """It is dropped after the time of a handshake; others are served meanwhile."""
    async with vnc_rig(drawn.address, handshake_seconds=0.5) as rig:
        async with connected(rig.address) as stranger, viewing(rig.address) as viewer:
            stranger.writer.write(said)
            viewer.ask()
            await viewer.update()
            await stranger.end()
        await rig.until_told("it did not finish the handshake within 0.5 s")


@pytest.mark.parametrize("said", [b"", b"RFB 003.008\n\2"])
async def test_many_silent_strangers(drawn: DrawnScreen, said: bytes) -> None:
    """Nobody is shut out by them: the oldest of them goes."""
    async with (
        vnc_rig(drawn.address, viewers=2, password=PASSWORD, handshake_seconds=SECONDS) as rig,
        AsyncExitStack() as stack,
    ):
        first = await stack.enter_async_context(connected(rig.address))
        await first.shake_hands(VERSIONS[-1], right)
        strangers = []
        for _ in range(3 * STRANGERS):
            strangers.append(await stack.enter_async_context(connected(rig.address)))
            strangers[-1].writer.write(said)
        for one in strangers[: 2 * STRANGERS]:
            await one.end()
        second = await stack.enter_async_context(connected(rig.address))
        await second.shake_hands(VERSIONS[-1], right)
        for viewer in (first, second):
            viewer.ask()
            await viewer.update()


async def test_too_many_viewers(drawn: DrawnScreen) -> None:
    """One more is told why it can't come in; there is room again when one leaves."""
    async with vnc_rig(drawn.address, viewers=1) as rig:
        async with viewing(rig.address) as viewer, connected(rig.address) as other:
            with pytest.raises(Refused, match="1 viewers are connected, which is the limit"):
                await other.shake_hands()
            viewer.ask()
            await viewer.update()
            name = "{}:{}".format(*viewer.writer.get_extra_info("sockname"))
        await rig.until_told(f"{name} is disconnected")
        async with viewing(rig.address) as viewer:
            viewer.ask()
            await viewer.update()


FORMAT = struct.Struct(">BBBBHHHBBB3x")
LIES = {
    "no such message": (b"\x63", "a message of type 99"),
    "2^16 encodings": (b"\2\0\xff\xff", "it has 65535 encodings"),
    "a clipboard of 2 GiB": (b"\6\0\0\0\x7f\xff\xff\xff", "its clipboard has 2147483647 bytes"),
    "a negative clipboard": (b"\6\0\0\0\xff\xff\xff\xff", "its clipboard has -1 bytes"),
    "a fence of 255 bytes": (b"\xf8\0\0\0\x80\0\0\0\xff", "its fence has 255 bytes"),
    "QEMU's sound": (b"\xff\1\0\0", "QEMU's message 1"),
    "7 bits": (b"\0\0\0\0" + FORMAT.pack(7, 7, 0, 1, 1, 1, 1, 0, 1, 2), "it wants 7 bits"),
    "shifts out of a pixel": (
        b"\0\0\0\0" + FORMAT.pack(32, 24, 0, 1, 255, 255, 255, 255, 8, 0),
        "colours that don't fit",
    ),
    "colours in one place": (
        b"\0\0\0\0" + FORMAT.pack(32, 24, 0, 1, 255, 255, 255, 0, 0, 0),
        "colours that don't fit",
    ),
    "no colours": (
        b"\0\0\0\0" + FORMAT.pack(32, 24, 0, 1, 0, 0, 0, 0, 0, 0),
        "colours that don't fit",
    ),
    "a map for 32 bits": (
        b"\0\0\0\0" + FORMAT.pack(32, 24, 0, 0, 255, 255, 255, 16, 8, 0),
        "a colour map for 32 bits",
    ),
    "continuous updates": (b"\x96\1" + bytes(8), "it wants continuous updates"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_viewer_that_lies(drawn: DrawnScreen, name: str) -> None:
    """It is closed, with the reason; another viewer is served as before."""
    said, words = LIES[name]
    async with vnc_rig(drawn.address) as rig, viewing(rig.address) as other:
        async with viewing(rig.address) as viewer:
            viewer.writer.write(said)
            await viewer.end()
            await rig.until_told(words)
        other.ask()
        await other.update()


async def test_half_a_message(drawn: DrawnScreen) -> None:
    """The rest has to come within a time; or the viewer has left in the middle of it."""
    async with vnc_rig(drawn.address, message_seconds=0.3) as rig:
        async with viewing(rig.address) as viewer:
            viewer.writer.write(b"\2\0\0\5\0\0")
            await viewer.end()
            await rig.until_told("its message did not end within 0.3 s")
        async with viewing(rig.address) as viewer:
            viewer.writer.write(b"\2\0\0\5\0\0")
        await rig.until_told("it left in the middle of a message")


async def test_a_viewer_that_never_reads(drawn: DrawnScreen) -> None:
    """It is dropped; what it was not sent is no more than the update that it asked for."""
    drawn.show(1024, 768, bytes(1024 * 768 * 4))
    async with (
        vnc_rig(drawn.address, stall_seconds=0.5) as rig,
        connected(rig.address, room=4096) as viewer,
    ):
        await viewer.shake_hands()
        viewer.stop_reading()
        viewer.ask(whole=True)
        await rig.until_told("it has read nothing for 0.5 s")
    drawn.show(WIDTH, HEIGHT, PICTURE)


async def test_requests_of_any_area(drawn: DrawnScreen) -> None:
    """Areas outside of the screen, and empty ones, harm nobody."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, ZRLE) as viewer:
        for area in ((0, 0, 0, 0), (65535,) * 4, (WIDTH, HEIGHT, 1, 1), (1, 1, 65535, 65535)):
            viewer.ask(whole=True, area=area)
        await viewer.update()
        viewer.ask(whole=True)
        await viewer.update()
        assert viewer.rows[0][0] == (3, 2, 1)


async def test_a_clipboard_is_thrown_away(drawn: DrawnScreen) -> None:
    """A megabyte at most."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address) as viewer:
        viewer.writer.write(struct.pack(">B3xI", 6, 1 << 20) + bytes(1 << 20))
        viewer.ask()
        await viewer.update()


async def test_fences_without_end(drawn: DrawnScreen) -> None:
    """Who asks for more than it reads is closed; who reads is answered."""
    fence = struct.pack(">B3xIB", 248, 1 << 31, 64) + bytes(64)
    async with vnc_rig(drawn.address) as rig:
        async with viewing(rig.address, RAW, FENCE) as viewer:
            viewer.writer.write(fence * 1000)
            while len(viewer.seen.fences) < 1000:
                await viewer.message()
        async with connected(rig.address, room=4096) as viewer:
            await viewer.shake_hands()
            viewer.stop_reading()
            viewer.writer.write(fence * 50_000)
            await rig.until_told("is disconnected: it asks, and does not read 64 answers")


@dataclass
class Heap:
    """A stream that has all the bytes of a viewer, and takes what it is sent."""

    data: memoryview
    reads: int = 0
    held: int = 0
    """Most reads in a row in which nothing else ran."""

    async def readexactly(self, n: int, /) -> bytes:
        """Return bytes at once, up to the end."""
        self.reads += 1
        found, self.data = bytes(self.data[:n]), self.data[n:]
        if len(found) < n:
            raise asyncio.IncompleteReadError(found, n)
        return found

    async def watch(self) -> None:
        """Run whenever something else may run."""
        while True:
            before = self.reads
            await asyncio.sleep(0)
            self.held = max(self.held, self.reads - before)

    def write(self, data: bytes, /) -> None:
        """Throw bytes away."""

    async def drain(self) -> None:
        """There is always room."""

    def close(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize(
    "flood",
    [
        struct.pack(">BBHH", 5, 0, 7, 7) * 20_000,
        struct.pack(">BB2xI", 4, 1, 0x61) * 20_000,
        (struct.pack(">B3xI", 6, 1 << 20) + bytes(1 << 20)) * 4,
        struct.pack(">BB4H", 3, 0, 0, 0, WIDTH, HEIGHT) * 5000,
    ],
    ids=["pointer", "keys", "clipboards", "requests"],
)
async def test_a_viewer_that_says_much(drawn: DrawnScreen, flood: bytes) -> None:
    """Others have their turn, though all of its bytes are there at once."""
    stream = Heap(memoryview(b"RFB 003.008\n\1\1" + flood))
    watch = asyncio.create_task(stream.watch())
    try:
        async with await virtmesh_client.aconnect(drawn.address) as machine:
            await serve_viewer(machine, "gpu0", stream, stream)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    assert not stream.data
    assert stream.held <= TURN_READS


async def test_encodings_that_nobody_knows(drawn: DrawnScreen) -> None:
    """They are left out; the first that is known counts, and Raw if there is none."""
    async with vnc_rig(drawn.address) as rig:
        async with viewing(rig.address, 99, -(1 << 31), (1 << 31) - 1, CURSOR) as viewer:
            viewer.ask()
            await viewer.update()
            assert viewer.rows[0][0] == (3, 2, 1)
        async with viewing(rig.address, *range(1000, 2023), ZRLE) as viewer:
            viewer.set_format(Format(big=True))
            viewer.ask(whole=True)
            await viewer.update()
            assert viewer.rows[0][0] == (3, 2, 1)


async def test_an_address_that_others_reach(drawn: DrawnScreen) -> None:
    """Without a password only loopback is allowed; the error says what to do."""
    with pytest.raises(ValueError, match=r"VIRTMESH_VNC_PASSWORD.*--password-file.*ssh -L"):
        async with vnc_rig(drawn.address, host="0.0.0.0"):  # noqa: S104 - that is the point
            pass
    async with vnc_rig(drawn.address, host="0.0.0.0", password=PASSWORD) as rig:  # noqa: S104
        assert rig.address[1]
    async with vnc_rig(drawn.address, host="localhost") as rig:
        assert rig.address[1]
