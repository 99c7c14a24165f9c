"""The driver's end of the register channel, against devices of every kind."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from virtmesh.attach.asyncfd import readable
from virtmesh.attach.bus import Access
from virtmesh.attach.exchange import Exchange
from virtmesh.attach.register_channel import ENTRY_LIMIT, PACKET_LIMIT, RegisterChannel
from virtmesh_common.errors import DeviceLost, Misaligned, RegisterError

READ = Access(0x70, 4)
WRITE = Access(0x70, 4, 0xDEAD_BEEF)
GUARD = Access(0x70, 4, expect=(0xFF, 0x0F))


def answer(tag: int, *values: int, flags: int = 0, text: bytes = b"") -> bytes:
    """Make an answer."""
    return struct.pack(f"<IIIIQ{len(values)}Q", tag, len(values), flags, 0, 0, *values) + text


class Ends:
    """Both ends of a channel, and what was heard of its loss."""

    def __init__(self) -> None:
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        self.device, self.driver = socket.socketpair(socket.AF_UNIX, kind)
        self.lost: list[str] = []
        self.ended = asyncio.Event()
        self.channel = RegisterChannel(self.driver, self.lose)

    def lose(self, how: str) -> None:
        """Fail what waits, as a bus does."""
        self.lost.append(how)
        self.ended.set()
        self.channel.fail(DeviceLost(how))

    def submit(self, *batch: Access) -> Exchange:
        """Submit a batch."""
        exchange = Exchange(batch)
        self.channel.submit(exchange)
        return exchange

    async def request(self) -> bytes:
        """Receive a request."""
        await readable(self.device)
        return self.device.recv(1 << 17)


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Connect both ends."""
    ends = Ends()
    yield ends
    ends.channel.close()
    ends.driver.close()
    ends.device.close()


async def test_requests_are_as_the_protocol_has_them(ends: Ends) -> None:
    """Tag, count, and 16 bytes for each access."""
    ends.submit(READ, WRITE, GUARD)
    assert await ends.request() == b"".join(
        (
            struct.pack("<II", 1, 3),
            struct.pack("<IBBBBQ", 0x70, 4, 0, 0, 0, 0),
            struct.pack("<IBBBBQ", 0x70, 0x84, 0, 0, 0, 0xDEAD_BEEF),
            struct.pack("<IBBBBQ", 0x70, 0x44, 0, 0, 0, 0xFF << 32 | 0x0F),
        )
    )


async def test_answers_go_to_their_requests(ends: Ends) -> None:
    """Many at once; a caller that was cancelled does not shift them."""
    exchanges = [ends.submit(READ) for _ in range(200)]
    exchanges[7].answer.cancel()
    for tag in range(1, 201):
        await ends.request()
        ends.device.send(answer(tag, tag))
    for number, exchange in enumerate(exchanges, 1):
        if number != 8:
            assert exchange.result(await exchange.answer) == [number]


async def test_a_refusal_has_its_class_and_its_place(ends: Ends) -> None:
    """Reason and message come behind the values."""
    exchange = ends.submit(WRITE, READ)
    ends.device.send(answer(1, 0, flags=2, text="MISALIGNED\0nicht aligniert: ä".encode()))
    with pytest.raises(Misaligned, match="nicht aligniert: ä") as caught:
        exchange.result(await exchange.answer)
    assert caught.value.metadata["index"] == "1"


async def test_an_unknown_reason_is_a_register_error(ends: Ends) -> None:
    """A text that is no UTF-8 is shown as well as can be."""
    exchange = ends.submit(READ)
    ends.device.send(answer(1, flags=2, text=b"NEW_REASON\0\xff"))
    with pytest.raises(RegisterError, match="\ufffd"):
        exchange.result(await exchange.answer)


async def test_requests_wait_while_the_device_does_not_read(ends: Ends) -> None:
    """All of them are sent later, in order; one whose caller was cancelled is not."""
    batch = [READ] * ENTRY_LIMIT
    exchanges = [ends.submit(*batch) for _ in range(40)]
    exchanges[30].answer.cancel()
    tags = []
    for _ in range(39):
        tags.append(struct.unpack_from("<I", await ends.request())[0])
        ends.device.send(answer(tags[-1], *[0] * ENTRY_LIMIT))
        await asyncio.sleep(0)
    assert tags == [tag for tag in range(1, 41) if tag != 31]
    for exchange in exchanges[:30] + exchanges[31:]:
        assert exchange.result(await exchange.answer) == [0] * ENTRY_LIMIT


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"x", id="short"),
        pytest.param(answer(1, 5)[:-1], id="values cut"),
        pytest.param(answer(1, 5, text=b"more"), id="text without a refusal"),
        pytest.param(answer(2, 5), id="another request"),
        pytest.param(struct.pack("<IIIIQ", 1, 0xFFFF_FFFF, 0, 0, 0), id="count overflows"),
        pytest.param(answer(1, *[0] * 4001, text=bytes(PACKET_LIMIT)), id="too large"),
    ],
)
async def test_a_device_that_breaks_the_protocol_is_lost(ends: Ends, packet: bytes) -> None:
    """Whoever waits is told, and nothing more is read."""
    exchange = ends.submit(READ)
    ends.device.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ends.device.send(packet)
    with pytest.raises(DeviceLost, match="register channel"):
        await exchange.answer
    assert len(ends.lost) == 1


async def test_an_answer_without_a_request_loses_the_device(ends: Ends) -> None:
    """Nobody asked."""
    ends.device.send(answer(0))
    await ends.ended.wait()
    assert "not the next one" in ends.lost[0]


async def test_a_device_that_ends_fails_what_waits(ends: Ends) -> None:
    """What was sent, and what was not."""
    exchanges = [ends.submit(*[READ] * ENTRY_LIMIT) for _ in range(20)]
    ends.device.close()
    results = await asyncio.gather(*(one.answer for one in exchanges), return_exceptions=True)
    assert {type(one) for one in results} == {DeviceLost}
    assert len(ends.lost) == 1
