"""Batches as they are on the wire, from a driver that sends anything, to a port that knows runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.line_end import LineEnd
from virtmesh.host.batch import GUARD, WRITE
from virtmesh.host.host import Addresses, Host
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.register.v1 import register_pb2 as pb
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.uart.spec import Lcr, Lsr, Registers

REGISTERS = Registers()
LCR, LSR, RBR, SCR, THR = (
    register.offset
    for register in (
        REGISTERS.lcr,
        REGISTERS.lsr,
        REGISTERS.rbr,
        REGISTERS.scr,
        REGISTERS.thr,
    )
)
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
EIGHT_BITS = (LCR, 1 | WRITE, int(Lcr.WLS0 | Lcr.WLS1))
STILL_THERE = [(SCR, 1 | WRITE, 0x5A), (SCR, 1, 0)]


class Wire:
    """A port, and an open register stream to it that nobody has attached for."""

    def __init__(self, channel: Any, end: LineEnd) -> None:
        self.end = end
        self._stream: Any = RegisterServiceStub(channel).Access()
        self._control: Any = DeviceServiceStub(channel)

    async def execute(self, accesses: list[tuple[int, int, int]]) -> pb.AccessResponse:
        """Send a batch of offset, op, value; return its answer."""
        offsets, ops, values = ([one[column] for one in accesses] for column in range(3))
        await self._stream.write(pb.AccessRequest(offsets=offsets, ops=ops, values=values))
        answer: pb.AccessResponse = await self._stream.read()
        return answer

    async def stats(self) -> device_pb2.GetStatsResponse:
        """Return the counters of the device."""
        stats: device_pb2.GetStatsResponse = await self._control.GetStats(
            device_pb2.GetStatsRequest()
        )
        return stats

    def close(self) -> None:
        """End the stream."""
        self._stream.cancel()


@pytest.fixture
async def to_port(tmp_path: Path) -> AsyncIterator[Wire]:
    """Serve a port that is set to eight bits."""
    address = f"unix:{tmp_path / 's'}"
    device = UartDevice("serial", UartOptions())
    host = Host(device, Addresses([address]))
    await host.start()
    async with open_channel(address) as channel:
        to_port = Wire(channel, LineEnd(device.line))
        await to_port.execute([EIGHT_BITS])
        yield to_port
        to_port.close()
    await host.stop()


async def test_a_run_is_sent_and_counted_access_by_access(to_port: Wire) -> None:
    """Two hundred writes of THR are one message, and two hundred writes."""
    before = await to_port.stats()

    answer = await to_port.execute([(THR, 1 | WRITE, value) for value in range(200)])

    after = await to_port.stats()
    assert to_port.end.heard == bytes(range(200))
    assert list(answer.values) == [0] * 200
    assert after.mmio_messages - before.mmio_messages == 1
    assert after.mmio_writes - before.mmio_writes == 200


async def test_a_guard_ends_its_batch_and_no_other(to_port: Wire) -> None:
    """What is behind it is not sent; the answer is shorter, and has no error."""
    guard = (LSR, 1 | GUARD, int(Lsr.THRE) << 32)  # THRE is to be 0, and is 1

    answer = await to_port.execute([(THR, 1 | WRITE, 65), guard, (THR, 1 | WRITE, 66)])

    assert list(answer.values) == [0, int(Lsr.THRE | Lsr.TEMT)]
    assert not answer.HasField("error")
    assert to_port.end.heard == b"A"
    assert list((await to_port.execute(STILL_THERE)).values) == [0, 0x5A]


@pytest.mark.parametrize(
    ("access", "reason"),
    [
        ((LSR, 8 | GUARD, 0), "BAD_WIDTH"),
        ((LSR, 4 | GUARD, U64), "BAD_WIDTH"),
        ((LSR, GUARD, 0), "BAD_WIDTH"),
        ((THR, 1 | GUARD | WRITE, 0), "BAD_WIDTH"),
        ((THR, U32, U64), "BAD_WIDTH"),
        ((RBR, 0, 0), "BAD_WIDTH"),
        ((RBR, 0x100, 0), "BAD_WIDTH"),
        ((RBR, 2, 0), "BAD_WIDTH"),
        ((U32, 1, 0), "UNKNOWN_REGISTER"),
        ((U32, 1 | GUARD, 0), "UNKNOWN_REGISTER"),
        ((LSR, 1 | WRITE, 0), "NOT_WRITABLE"),
        ((THR, 1 | WRITE, 0x100), "BAD_VALUE"),
        ((THR, 1 | WRITE, U64), "BAD_VALUE"),
    ],
)
@pytest.mark.parametrize("times", [1, 2, 500])
async def test_hostile_columns_are_refused(
    to_port: Wire, access: tuple[int, int, int], reason: str, times: int
) -> None:
    """The first one that makes no sense ends the batch, alone or in a run; the stream goes on."""
    answer = await to_port.execute([(THR, 1 | WRITE, 65), *[access] * times, (THR, 1 | WRITE, 66)])

    assert (answer.error.reason, answer.error.index) == (reason, 1)
    assert to_port.end.heard == b"A"
    assert list((await to_port.execute(STILL_THERE)).values) == [0, 0x5A]


async def test_a_bad_value_ends_a_run_where_it_is(to_port: Wire) -> None:
    """What is before it is sent, what is behind it is not."""
    values = [65, 66, 0x100, 67]

    answer = await to_port.execute([(THR, 1 | WRITE, value) for value in values])

    assert (answer.error.reason, answer.error.index) == ("BAD_VALUE", 2)
    assert to_port.end.heard == b"AB"


async def test_a_guard_may_look_at_no_bits(to_port: Wire) -> None:
    """A mask of 0 is met by 0 alone."""
    met = await to_port.execute([(LSR, 1 | GUARD, 0), (SCR, 1, 0)])
    unmet = await to_port.execute([(LSR, 1 | GUARD, 1), (SCR, 1, 0)])

    assert (len(met.values), len(unmet.values)) == (2, 1)
