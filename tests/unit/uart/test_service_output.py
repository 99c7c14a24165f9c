"""UartService over gRPC, its machine in the hands of the test: where output begins, who gets it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.uart_clients import LineClients, Terminal, read_all, serving_desk
from virtmesh.uart.line import stream
from virtmesh.uart.line.scrollback import HEADROOM_BYTES
from virtmesh.uart.line.stream import CHUNK_BYTES
from virtmesh.uart.port import LineFormat, PortLines
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.errors import BadValue, WatcherTooSlow

KEPT = 64 << 10
"""Size of the scrollback, in bytes."""
EVERYTHING = bytes(range(256))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[LineClients]:
    """Serve a line."""
    async with serving_desk(tmp_path, KEPT) as desk:
        yield desk


# -- Where a stream begins ------------------------------------------------------------------------


async def test_without_an_offset_output_begins_now(desk: LineClients) -> None:
    """The snapshot says how the line stands."""
    desk.line.say(b"before")
    terminal = await desk.open(watch=True)
    assert terminal.snapshot == pb.Snapshot(
        epoch=desk.far_end.epoch,
        offset=6,
        output_offset=6,
        format=pb.LineFormat(baud=115200, data_bits=8, parity="N", stop_half_bits=2),
        port_lines=pb.PortLines(),
        lines=pb.Lines(cts=True, dsr=True, ri=False, dcd=True),
    )
    desk.line.say(b"after")
    assert await terminal.output(5) == b"after"


async def test_a_client_resumes_at_its_offset(desk: LineClients) -> None:
    """Nothing is lost, and nothing is sent twice."""
    desk.line.say(b"before and after")
    terminal = await desk.open(watch=True, offset=6, epoch=desk.far_end.epoch)
    snapshot = terminal.snapshot
    assert (snapshot.offset, snapshot.output_offset, snapshot.missed_bytes) == (6, 16, 0)
    assert not snapshot.restarted
    assert await terminal.output(10) == b" and after"


async def test_a_client_that_comes_too_late_is_told_what_it_missed(desk: LineClients) -> None:
    """Output begins with the oldest byte that is kept."""
    desk.line.say(bytes(100) + b"x" * KEPT)
    terminal = await desk.open(watch=True, offset=40)
    assert (terminal.snapshot.offset, terminal.snapshot.missed_bytes) == (100, 60)
    assert await terminal.output(KEPT) == b"x" * KEPT


async def test_an_offset_of_another_life(desk: LineClients) -> None:
    """Output begins with the oldest byte of this one; any offset may come from another life."""
    desk.line.say(b"anew")
    terminal = await desk.open(watch=True, offset=1 << 40, epoch="another")
    snapshot = terminal.snapshot
    assert (snapshot.offset, snapshot.missed_bytes, snapshot.restarted) == (0, 0, True)
    assert await terminal.output(4) == b"anew"


async def test_what_is_missed_of_a_new_life(desk: LineClients) -> None:
    """It is counted from that life's beginning."""
    desk.line.say(bytes(KEPT + 7))
    terminal = await desk.open(watch=True, offset=50, epoch="another")
    snapshot = terminal.snapshot
    assert (snapshot.offset, snapshot.missed_bytes, snapshot.restarted) == (7, 7, True)


@pytest.mark.parametrize(("tail", "wanted"), [(3, b"end"), (0, b""), (1000, b"to the end")])
async def test_the_tail_of_the_scrollback(desk: LineClients, tail: int, wanted: bytes) -> None:
    """At most as many bytes as are kept."""
    desk.line.say(b"to the end")
    terminal = await desk.open(watch=True, tail_bytes=tail)
    desk.line.say(b"!")
    assert await terminal.output(len(wanted) + 1) == wanted + b"!"


async def test_a_tail_is_no_more_than_the_scrollback(desk: LineClients) -> None:
    """Older bytes are no part of it, though some of them may still be there."""
    desk.line.say(bytes(KEPT + 100))
    terminal = await desk.open(watch=True, tail_bytes=KEPT + 50)
    assert terminal.snapshot.offset == 100


@pytest.mark.parametrize("start", [{"offset": 5}, {"offset": 1, "tail_bytes": 1}])
async def test_a_beginning_that_makes_no_sense(desk: LineClients, start: dict[str, Any]) -> None:
    """An offset not yet written; an offset and a tail."""
    desk.line.say(b"four")
    terminal = Terminal(desk.stub.Open())
    await terminal.call.write(pb.OpenRequest(start=pb.Start(watch=True, **start)))
    assert isinstance(await terminal.error(), BadValue)
    assert (await desk.info()).watchers == 0


# -- Gathering ------------------------------------------------------------------------------------


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let output be gathered for longer than a test takes."""
    monkeypatch.setattr(stream, "GATHER_SECONDS", 3600.0)


@pytest.mark.usefixtures("gathering")
async def test_output_is_gathered_until_there_is_input(desk: LineClients) -> None:
    """The first output of a pause comes at once, and so does the echo of what is typed."""
    terminal = await desk.open(watch=True)
    desk.line.say(b"a")
    assert await terminal.output(1) == b"a"
    for piece in (b"l", b"o", b"g"):
        desk.line.say(piece)
        await desk.info()

    await terminal.send(b"x")

    assert [piece async for piece in terminal.pieces(3)] == [b"log"]


@pytest.mark.usefixtures("gathering")
async def test_a_client_that_is_behind_waits_for_no_more(desk: LineClients) -> None:
    """Messages that are full follow one another."""
    desk.line.say(bytes(KEPT))
    terminal = await desk.open(watch=True, offset=0, epoch=desk.far_end.epoch)
    desk.line.say(b"rest")
    assert len(await terminal.output(KEPT + 4)) == KEPT + 4


# -- Output ---------------------------------------------------------------------------------------


async def test_every_byte_passes_untouched(desk: LineClients) -> None:
    """In both directions: what is no UTF-8, zeroes, controls."""
    terminal = await desk.open(watch=True)
    desk.line.say(EVERYTHING)
    await terminal.send(EVERYTHING)
    assert await terminal.output(256) == EVERYTHING
    assert await desk.line.heard(256) == EVERYTHING


async def test_small_outputs_of_one_turn_are_one_message(desk: LineClients) -> None:
    """A driver that writes a character at a time does not cost a message for each."""
    terminal = await desk.open(watch=True)
    for byte in EVERYTHING:
        desk.line.say(bytes([byte]))
    assert [piece async for piece in terminal.pieces(256)] == [EVERYTHING]


async def test_a_watcher_that_lags_gets_bigger_messages(desk: LineClients) -> None:
    """As big as they may be."""
    terminal = await desk.open(watch=True)
    desk.line.say(bytes(KEPT + HEADROOM_BYTES))
    sizes = [len(piece) async for piece in terminal.pieces(KEPT + HEADROOM_BYTES)]
    assert sizes == [CHUNK_BYTES] * 5


async def test_who_does_not_watch_gets_no_output(desk: LineClients) -> None:
    """Only what became of its input, and no news of the port."""
    terminal = await desk.open()
    desk.line.say(b"output")
    desk.line.move(PortLines(dtr=True))
    desk.line.set_format(LineFormat(9600, 8, "N", 2))
    await terminal.send(b"input")
    await terminal.call.done_writing()
    answers = [answer async for answer in read_all(terminal.call)]
    assert [answer.WhichOneof("response") for answer in answers] == ["taken"]
    assert (await desk.info()).watchers == 0


async def test_watchers_hear_of_the_port_in_its_latest_state(desk: LineClients) -> None:
    """Changes of one turn are merged."""
    terminal = await desk.open(watch=True)
    for dtr in (True, False, True):
        desk.line.move(PortLines(dtr=dtr, break_sent=not dtr))
    for baud in (300, 9600):
        desk.line.set_format(LineFormat(baud, 8, "N", 2))
    desk.line.say(b"!")
    answers = [await terminal.call.read() for _ in range(3)]
    assert answers == [
        pb.OpenResponse(port_lines=pb.PortLines(dtr=True)),
        pb.OpenResponse(format=pb.LineFormat(baud=9600, data_bits=8, parity="N", stop_half_bits=2)),
        pb.OpenResponse(output=pb.Output(offset=0, data=b"!")),
    ]
    desk.line.say(b"?")
    again = await terminal.call.read()
    assert again == pb.OpenResponse(output=pb.Output(offset=1, data=b"?"))


async def test_a_watcher_goes_on_when_its_input_has_ended(desk: LineClients) -> None:
    """Half-closed, it is sent output until it goes."""
    terminal = await desk.open(watch=True)
    await terminal.send(b"x")
    await terminal.call.done_writing()
    await terminal.taken(1)
    desk.line.say(b"later")
    assert await terminal.output(5) == b"later"
    assert (await desk.info()).watchers == 1
    terminal.call.cancel()
    await desk.until_watched_by(0)


# -- Watchers that do not keep up -----------------------------------------------------------------


def sayings(total: int) -> Iterator[bytes]:
    """Make output that differs with its place, a batch of register accesses at a time."""
    for start in range(0, total, 4096):
        yield b"".join(i.to_bytes(4, "big") for i in range(start, start + 4096, 4))


TOTAL = 4 << 20


async def test_a_watcher_that_stops_reading_is_cut_off(desk: LineClients) -> None:
    """With the offset of what it was not sent; the others get everything."""
    quick = await desk.open(watch=True)
    got = bytearray()
    async with desk.lazy() as slow:
        for piece in sayings(TOTAL):
            desk.line.say(piece)
            got += await quick.output(len(piece))
        info, stats = await desk.info(), await desk.stats()
        error, had = await slow.error_and_rest()
    assert got == b"".join(sayings(TOTAL))
    assert (info.watchers, stats.watchers_cut) == (1, 1)
    assert isinstance(error, WatcherTooSlow)
    assert error.metadata == {"offset": str(len(had)), "epoch": desk.far_end.epoch}
    assert len(had) < TOTAL - KEPT
    assert got.startswith(had)


async def test_who_begins_with_the_oldest_byte_is_not_cut_off(desk: LineClients) -> None:
    """Though the machine goes on sending before it has read anything."""
    desk.line.say(b"x" * 3 * KEPT)
    terminal = await desk.open(watch=True, offset=0)
    desk.line.say(b"y" * 2 * KEPT)
    assert await terminal.output(3 * KEPT) == b"x" * KEPT + b"y" * 2 * KEPT
    assert (await desk.stats()).watchers_cut == 0
