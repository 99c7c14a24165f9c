"""NS16550aRaw, and the probe: what travels to the port, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from unittest.mock import AsyncMock, patch

import pytest

from tests.support.uart_rig import REGISTERS, Liar, Lie, Rig, bench, read, started
from virtmesh.attach.bus import Access
from virtmesh.drivers.settings import Settings
from virtmesh.kinds import kind_of
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.driver.line_setting import LineSetting
from virtmesh.uart.driver.raw import NS16550aRaw
from virtmesh.uart.kind import KIND
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.uart.port import LineError, LineFormat
from virtmesh_common.errors import DriverError
from virtmesh_common.uart.spec import FIFO_SIZE, Ier, Iir, Layout, Lsr

TEXT = bytes(range(200))


async def raw_of(one: Rig) -> NS16550aRaw:
    """Set the registers up, FIFOs on, interrupts as `take` needs them."""
    raw = NS16550aRaw(one.bus)
    await raw.set_line(LineSetting())
    await raw.enable_fifos(FIFO_SIZE)
    await raw.set_interrupts(Ier.ERBFI)
    one.bus.trace.clear()
    return raw


def offsets(trace: Sequence[Access]) -> list[int]:
    """Return which registers were accessed."""
    return [access.offset for access in trace]


async def test_a_group_is_two_looks_and_a_run() -> None:
    """IIR and LSR guard as many reads of RBR as the trigger level promises; IIR ends it."""
    async with bench() as one:
        raw = await raw_of(one)
        one.end.line.send_now(TEXT[:14])

        received = await raw.take(100)

        assert received.data == TEXT[:14]
        assert received.cause == Iir.NONE
        regs = REGISTERS
        group = [regs.iir.offset, regs.lsr.offset, *[regs.rbr.offset] * 14]
        assert offsets(one.bus.trace) == [*group, regs.iir.offset]


async def test_a_message_is_no_longer_than_its_limit() -> None:
    """However long the line is, and however much is asked for: at most 4000 accesses."""
    async with bench() as one:
        raw = await raw_of(one)
        sizes: list[int] = []
        one.end.line.send_now(bytes(60_000))
        for _ in range(20):
            one.bus.trace.clear()
            await raw.take(1 << 20)
            sizes.append(len(one.bus.trace))

        assert sizes[:3] == [17, 33, 65]
        assert 3900 < max(sizes) <= 4000


@pytest.mark.parametrize("limit", [0, 1, 13, 14, 27, 28])
async def test_no_more_is_taken_than_there_is_room_for(limit: int) -> None:
    """A group is taken whole or not at all."""
    async with bench() as one:
        raw = await raw_of(one)
        raw._groups = 8
        one.end.line.send_now(TEXT)

        received = await raw.take(limit)

        assert len(received.data) == limit // 14 * 14
        assert received.cause == Iir.RECEIVED_DATA


@pytest.mark.parametrize("place", [0, 1, 13, 14, 15, 27, 28, 29])
@pytest.mark.parametrize(
    ("error", "bit"),
    [(LineError.PARITY, Lsr.PE), (LineError.FRAMING, Lsr.FE), (LineError.BREAK, Lsr.BI)],
)
async def test_an_error_is_told_with_its_character(place: int, error: LineError, bit: Lsr) -> None:
    """Wherever it is among the others, the one character has it."""
    async with bench() as one:
        raw = await raw_of(one)
        one.end.line.send_now(TEXT[:place])
        one.end.line.send_now(b"\0", error=error)
        one.end.line.send_now(TEXT[:40])
        data, errors = bytearray(), []
        while len(data) < place + 41:
            received = await raw.take(100)
            if received.cause != Iir.RECEIVED_DATA:
                rest = await raw.poll(16)
                received.errors += [(len(received.data) + at, bits) for at, bits in rest.errors]
                received.data += rest.data
            errors += [(len(data) + at, bits) for at, bits in received.errors]
            data += received.data

        assert data == TEXT[:place] + b"\0" + TEXT[:40]
        assert errors == [(place, bit)]


async def test_a_burst_ends_where_the_transmitter_is_busy() -> None:
    """The guard says so: 16 characters are written, the rest is not."""
    busy = iter([0, 0, int(Lsr.THRE)])
    async with bench(Liar({"LSR": lambda value: value & ~next(busy, 0)})) as one:
        raw = await raw_of(one)
        raw._bursts = 8

        assert await raw.write_burst(TEXT[:100]) == 32
        assert one.end.heard == TEXT[:32]
        assert await raw.write_burst(TEXT[32:100]) == 16


async def test_overruns_are_seen_whoever_reads_the_line_status() -> None:
    """Each showing of OE is counted, in every operation that reads LSR."""
    async with bench(Liar({"LSR": lambda value: value | Lsr.OE})) as one:
        raw = await raw_of(one)
        one.end.line.send_now(TEXT[:14])
        await raw.take(14)
        await raw.poll(1)
        await raw.write_burst(b"x")
        await raw.line_status()

        assert raw.overruns_seen == 4


@pytest.mark.parametrize(("shift", "width"), [(0, 1), (1, 2), (2, 1), (2, 4)])
async def test_registers_may_be_apart_and_wide(shift: int, width: int) -> None:
    """As `reg-shift` and `reg-io-width` of the node say."""
    device = UartDevice("serial", UartOptions(layout=Layout(shift, width)))
    properties = {"reg-shift": shift, "reg-io-width": width}
    async with bench(device, properties) as one:
        await one.driver.start()
        one.end.line.send_now(TEXT)
        await one.driver.write(TEXT)

        assert await read(one.driver, len(TEXT)) == TEXT
        assert one.end.heard == TEXT


async def test_what_is_above_eight_bits_is_not_data() -> None:
    """A wide register of a port that breaks the rules: the upper bits are cut off."""
    layout = Layout(2, 4)
    async with bench(UartDevice("serial", UartOptions(layout=layout))) as one:
        raw = NS16550aRaw(one.bus, layout)

        with patch.object(one.bus, "access", AsyncMock(return_value=[0x4241] * 4)):
            received = await raw.poll(2)

        assert received.data == b"AA"


@pytest.mark.parametrize(
    ("lies", "message"),
    [
        ({"IER": lambda _: 0xFF}, "no 16550: IER was written 0x0f and reads 0xff"),
        ({"IER": lambda _: 0}, "no 16550: IER"),
        ({"SCR": lambda _: 0}, "no 16550: SCR was written 0x55 and reads 0x00"),
        ({"MSR": lambda _: 0}, "no 16550: with RTS and OUT2 looped back MSR reads 0x00"),
        ({"RBR": lambda value: value ^ 1}, "fails its loopback test"),
        ({"LSR": lambda value: value & ~Lsr.DR}, "nothing came back"),
        ({"LSR": lambda value: value & ~Lsr.THRE}, "nothing came back"),
    ],
)
async def test_what_is_no_16550_is_not_driven(lies: Mapping[str, Lie], message: str) -> None:
    """The error says what is not as it should be."""
    async with bench(Liar(lies)) as one:
        with pytest.raises(DriverError, match=message):
            await one.driver.start()


async def test_a_transmitter_that_never_ends_does_not_hold_the_probe() -> None:
    """After a bounded number of looks the test goes on with what has come back."""
    async with started(Liar({"LSR": lambda value: value & ~Lsr.TEMT})) as one:
        assert one.driver.features == ["FIFO_16"]


async def test_a_port_without_fifos_is_driven_character_by_character() -> None:
    """IIR does not confirm the FIFOs, as that of a 16450."""
    async with started(Liar({"IIR": lambda value: value & 0x0F})) as one:
        assert (one.driver.features, one.driver.facts[0]) == ([], "FIFOs of 1")
        one.end.line.send_now(TEXT)
        await one.driver.write(TEXT)

        assert await read(one.driver, len(TEXT)) == TEXT
        assert one.end.heard == TEXT


async def test_a_port_is_found_by_its_compatible_string() -> None:
    """The driver is in the list by being in its package."""
    assert kind_of(("ns16550a", "ns16550"), 0) is KIND
    assert KIND.driver is NS16550a


async def test_the_speed_is_that_of_the_node() -> None:
    """`current-speed` and `clock-frequency` make the divisor."""
    device = UartDevice("serial", UartOptions(clock=1_843_200))
    properties = {"clock-frequency": 1_843_200, "current-speed": 9600}
    async with bench(device, properties) as one:
        await one.driver.start()

        assert device.chip.format == LineFormat(9600, 8, "N", 2)


@pytest.mark.parametrize(
    "properties",
    [{"clock-frequency": 0}, {"current-speed": 0}, {"reg-shift": 9}, {"reg-io-width": 3}],
)
async def test_a_node_that_makes_no_sense_is_refused(properties: Mapping[str, int]) -> None:
    """Before any register is touched."""
    async with bench() as one:
        with pytest.raises(ValueError, match=r"."):
            NS16550a.from_node(one.bus, properties, Settings())
        assert one.bus.trace == []
