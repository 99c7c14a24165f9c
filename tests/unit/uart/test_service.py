"""UartService over gRPC, its machine in the hands of the test: calls, input, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.support.uart_clients import LineClients, Terminal, read_all, serving_desk
from virtmesh.uart.port import LINE_LIMIT, FarLines, LineError, LineFormat, PortLines
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.errors import BadStream, BadValue, ShuttingDown, VirtmeshError, from_rpc_error
from virtmesh_common.uart.errors import LineFull

KEPT = 64 << 10
"""Size of the scrollback, in bytes."""


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[LineClients]:
    """Serve a line."""
    async with serving_desk(tmp_path, KEPT) as desk:
        yield desk


async def error_of(call: Any) -> VirtmeshError:
    """Return the error of a call."""
    try:
        await call
    except grpc.aio.AioRpcError as failure:
        return from_rpc_error(failure)
    pytest.fail("the call succeeded")


# -- Calls --------------------------------------------------------------------------------------


async def test_the_port_says_how_it_stands(desk: LineClients) -> None:
    """GetInfo: format, lines, offsets, who is there."""
    desk.line.set_format(LineFormat(9600, 7, "E", 4))
    desk.line.move(PortLines(dtr=True, rts=True, out2=True))
    desk.line.say(bytes(KEPT + 10))
    assert await desk.info() == pb.GetInfoResponse(
        name="serial",
        format=pb.LineFormat(baud=9600, data_bits=7, parity="E", stop_half_bits=4),
        port_lines=pb.PortLines(dtr=True, rts=True, out2=True),
        lines=pb.Lines(cts=True, dsr=True, ri=False, dcd=True),
        epoch=desk.far_end.epoch,
        scrollback_offset=10,
        output_offset=KEPT + 10,
        scrollback_bytes=KEPT,
        waiting_bytes_max=LINE_LIMIT,
        attached=True,
    )


async def test_lines_that_are_absent_stay(desk: LineClients) -> None:
    """Also those that are set to false are present."""
    one = await desk.stub.SetLines(pb.SetLinesRequest(lines=pb.Lines(cts=False, ri=True)))
    assert one.lines == pb.Lines(cts=False, dsr=True, ri=True, dcd=True)
    two = await desk.stub.SetLines(pb.SetLinesRequest(lines=pb.Lines(dcd=False)))
    assert two.lines == pb.Lines(cts=False, dsr=True, ri=True, dcd=False)
    assert desk.line.port.lines == FarLines(cts=False, dsr=True, ri=True, dcd=False)


async def test_a_write_is_on_the_line_when_it_returns(desk: LineClients) -> None:
    """It says how much waits there."""
    desk.line.port.take(3)
    answer = await desk.stub.Write(pb.WriteRequest(input=pb.Input(data=b"hello")))
    assert answer.waiting_bytes == 2
    assert desk.line.port.heard == b"hel"


async def test_a_write_that_is_bad_or_does_not_look(desk: LineClients) -> None:
    """As on a stream: the error goes with its character, and what finds no room is lost."""
    desk.line.port.take(2)
    bad = pb.Input(data=b"a", error=pb.LINE_ERROR_PARITY)
    await desk.stub.Write(pb.WriteRequest(input=bad))
    hasty = pb.Input(data=b"bc", flow=pb.FLOW_NONE)
    answer = await desk.stub.Write(pb.WriteRequest(input=hasty))
    assert answer.waiting_bytes == 0
    assert desk.line.port.heard == b"ab"
    assert desk.line.port.errors == [(0, LineError.PARITY)]


async def test_a_write_without_room_takes_nothing(desk: LineClients) -> None:
    """It says how much room there is, and the refused bytes are counted."""
    desk.line.port.take(0)
    await desk.stub.Write(pb.WriteRequest(input=pb.Input(data=bytes(LINE_LIMIT - 4))))
    error = await error_of(desk.stub.Write(pb.WriteRequest(input=pb.Input(data=b"hello"))))
    assert isinstance(error, LineFull)
    assert error.metadata == {"room_bytes": "4"}
    stats = await desk.stats()
    assert (stats.waiting_bytes, stats.refused_bytes) == (LINE_LIMIT - 4, 5)


IMPOSSIBLE = [
    pb.Input(data=bytes((64 << 10) + 1)),
    pb.Input(data=b"x", error=pb.LINE_ERROR_BREAK),
    pb.Input(error=pb.LINE_ERROR_PARITY),
    pb.Input(error=pb.LINE_ERROR_FRAMING),
    pb.Input(data=b"x", error=9),  # type: ignore[arg-type]
    pb.Input(data=b"x", flow=9),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("impossible", IMPOSSIBLE)
async def test_input_that_is_not_possible(desk: LineClients, impossible: pb.Input) -> None:
    """A call and a stream refuse it, and nothing of it reaches the line."""
    error = await error_of(desk.stub.Write(pb.WriteRequest(input=impossible)))
    terminal = await desk.open(watch=True)
    await terminal.call.write(pb.OpenRequest(input=impossible))
    assert isinstance(error, BadValue)
    assert isinstance(await terminal.error(), BadValue)
    assert desk.line.port.heard == b""


async def test_a_write_of_nothing(desk: LineClients) -> None:
    """Nothing happens."""
    answer = await desk.stub.Write(pb.WriteRequest())
    terminal = await desk.open()
    await terminal.send(b"")
    await terminal.call.done_writing()
    assert await terminal.call.read() is grpc.aio.EOF
    assert answer.waiting_bytes == 0
    assert desk.line.port.heard == b""


# -- Input ----------------------------------------------------------------------------------------


async def test_a_stream_ends_when_all_its_input_is_taken(desk: LineClients) -> None:
    """It is told how much has left the line, and not before it has."""
    desk.line.port.take(4)
    terminal = await desk.open()
    await terminal.send(b"hello")
    await terminal.call.done_writing()
    assert await terminal.taken(4) == pb.Taken(characters=4)
    desk.line.port.take(1)
    assert await terminal.taken(5) == pb.Taken(characters=5)
    assert await terminal.call.read() is grpc.aio.EOF


async def test_a_writer_that_does_not_look_overruns(desk: LineClients) -> None:
    """It is told how many of its characters were lost."""
    desk.line.port.take(3)
    terminal = await desk.open()
    await terminal.send(b"hello", flow=pb.FLOW_NONE)
    assert await terminal.taken(5) == pb.Taken(characters=5, overrun=2)
    assert desk.line.port.heard == b"hel"


async def test_errors_travel_with_their_characters(desk: LineClients) -> None:
    """A break is one character; the others mark those that they came with."""
    terminal = await desk.open()
    await terminal.send(b"a")
    await terminal.send(b"b", error=pb.LINE_ERROR_PARITY)
    await terminal.send(error=pb.LINE_ERROR_BREAK)
    await terminal.send(b"cd", error=pb.LINE_ERROR_FRAMING)
    await terminal.call.done_writing()
    assert (await terminal.taken(5)).characters == 5
    assert await terminal.call.read() is grpc.aio.EOF
    assert desk.line.port.heard == b"ab\0cd"
    assert desk.line.port.errors == [
        (1, LineError.PARITY),
        (2, LineError.BREAK),
        (3, LineError.FRAMING),
        (4, LineError.FRAMING),
    ]


async def test_modem_lines_of_a_stream(desk: LineClients) -> None:
    """In their order among its input."""
    terminal = await desk.open()
    await terminal.call.write(pb.OpenRequest(lines=pb.Lines(dcd=False)))
    await terminal.send(b"x")
    await terminal.taken(1)
    assert desk.line.port.lines == FarLines(dcd=False)


async def test_ten_thousand_tiny_writes(desk: LineClients) -> None:
    """All arrive in order; what became of them is told in fewer messages."""
    terminal = await desk.open()
    sent = bytes(i % 251 for i in range(10_000))

    async def send() -> None:
        for byte in sent:
            await terminal.send(bytes([byte]))
        await terminal.call.done_writing()

    sending = asyncio.create_task(send())
    answers = [answer.taken.characters async for answer in read_all(terminal.call)]
    await sending
    assert desk.line.port.heard == sent
    assert answers == sorted(set(answers))
    assert answers[-1] == len(sent)


async def test_a_writer_waits_while_the_line_has_no_room(desk: LineClients) -> None:
    """However much a client sends, the service holds a bounded part of it; all arrives."""
    desk.line.port.take(0)
    terminal = await desk.open()
    chunks = [bytes([i]) * (64 << 10) for i in range(160)]
    sent = 0

    async def send() -> None:
        nonlocal sent
        for chunk in chunks:
            await terminal.send(chunk)
            sent += len(chunk)
        await terminal.call.done_writing()

    sending = asyncio.create_task(send())
    while desk.line.waiting < LINE_LIMIT:
        await desk.line.moved()
    for _ in range(100):
        await desk.info()
    assert desk.line.waiting == LINE_LIMIT
    assert sent < sum(map(len, chunks))
    assert not sending.done()
    desk.line.port.take(1 << 40)
    assert (await terminal.taken(10 << 20)).overrun == 0
    await sending
    assert desk.line.port.heard == b"".join(chunks)


async def test_writers_take_turns(desk: LineClients) -> None:
    """Each message arrives in one piece; each writer's come in order."""
    terminals = [await desk.open() for _ in range(4)]

    async def send(terminal: Terminal, name: int) -> None:
        for number in range(50):
            await terminal.send(bytes([name, number]) * 100)
        await terminal.taken(10_000)

    await asyncio.gather(*(send(one, name) for name, one in enumerate(terminals)))
    heard = bytes(desk.line.port.heard)
    pieces = [heard[start : start + 200] for start in range(0, len(heard), 200)]
    assert all(piece == piece[:2] * 100 for piece in pieces)
    for name in range(4):
        assert [piece[1] for piece in pieces if piece[0] == name] == list(range(50))


# -- The end --------------------------------------------------------------------------------------


async def test_a_client_that_goes_leaves_its_input_on_the_line(desk: LineClients) -> None:
    """As on a real line; it is no watcher any more."""
    desk.line.port.take(0)
    terminal = await desk.open(watch=True)
    await terminal.send(b"last words")
    while desk.line.waiting < 10:
        await desk.line.moved()
    terminal.call.cancel()
    await desk.until_watched_by(0)
    desk.line.port.take(100)
    assert desk.line.port.heard == b"last words"


async def test_a_service_that_stops_ends_its_streams(desk: LineClients) -> None:
    """Watchers, writers that wait for room, and those that wait for their input to be taken."""
    desk.line.port.take(0)
    watcher = await desk.open(watch=True)
    writers = [await desk.open(), await desk.open()]
    for writer in writers:
        await writer.send(bytes(64 << 10))
    await writers[0].call.done_writing()
    while desk.line.waiting < LINE_LIMIT:
        await desk.line.moved()
    desk.service.end_streams()
    for terminal in (watcher, *writers):
        assert isinstance(await terminal.error(), ShuttingDown)
    assert (await desk.info()).watchers == 0


async def test_a_service_that_stops_sends_what_the_machine_has_sent(desk: LineClients) -> None:
    """The last words of a machine are worth reading."""
    terminal = await desk.open(watch=True)
    words = bytes(i % 251 for i in range(200_000))
    desk.line.say(words)
    desk.service.end_streams()
    error, rest = await terminal.error_and_rest()
    assert isinstance(error, ShuttingDown)
    assert rest == words


async def test_a_service_that_stops_lets_a_slow_watcher_know(desk: LineClients) -> None:
    """No write is cut: when it reads on, it gets the rest, and learns why there is no more."""
    async with desk.lazy() as slow:
        for _ in range(75):
            desk.line.say(bytes(4096))
            await desk.info()
        desk.service.end_streams()
        await desk.info()
        error, rest = await slow.error_and_rest()
    assert isinstance(error, ShuttingDown)
    assert len(rest) == 75 * 4096


async def test_an_error_ends_a_stream_that_has_input_on_the_line(desk: LineClients) -> None:
    """What is on the line stays there; the error is not kept back until that is taken."""
    desk.line.port.take(0)
    terminal = await desk.open(watch=True)
    await terminal.send(b"stays")
    await terminal.call.write(pb.OpenRequest())
    assert isinstance(await terminal.error(), BadStream)
    desk.line.port.take(5)
    assert desk.line.port.heard == b"stays"


@pytest.mark.parametrize(
    "requests",
    [
        [pb.OpenRequest(input=pb.Input(data=b"x"))],
        [pb.OpenRequest()],
        [pb.OpenRequest(start=pb.Start()), pb.OpenRequest(start=pb.Start())],
        [pb.OpenRequest(start=pb.Start(watch=True)), pb.OpenRequest()],
    ],
)
async def test_requests_out_of_order(desk: LineClients, requests: list[pb.OpenRequest]) -> None:
    """A stream begins with its one start; every request holds something."""
    terminal = Terminal(desk.stub.Open())
    for request in requests:
        await terminal.call.write(request)
    assert isinstance(await terminal.error(), BadStream)
    assert desk.line.port.heard == b""
    assert (await desk.info()).watchers == 0


async def test_a_request_that_is_no_message_ends_the_stream(desk: LineClients) -> None:
    """With an error, and the watcher with it: nothing that follows would be read."""
    watch = pb.OpenRequest(start=pb.Start(watch=True)).SerializeToString()
    async with grpc.aio.insecure_channel(desk.address) as channel:
        call: Any = channel.stream_stream("/virtmesh.uart.v1.UartService/Open")()
        await call.write(watch)
        await call.read()
        await call.write(b"\xff\xff")
        assert await asyncio.wait_for(call.code(), 5) is not grpc.StatusCode.OK
    await desk.until_watched_by(0)


async def test_a_stream_that_never_begins(desk: LineClients) -> None:
    """It ends in peace, or with the service."""
    one, two = desk.stub.Open(), desk.stub.Open()
    await one.done_writing()
    assert await one.read() is grpc.aio.EOF
    waiting = asyncio.ensure_future(Terminal(two).error())
    await desk.info()
    desk.service.end_streams()
    assert isinstance(await waiting, ShuttingDown)
