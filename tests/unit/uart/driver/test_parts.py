"""The parts of the serial driver that need no port: the queue of bytes, and line settings."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.uart.driver.byte_queue import ByteQueue
from virtmesh.uart.driver.line_setting import LineSetting
from virtmesh_common.uart.spec import Lcr


def test_a_queue_takes_what_it_has_room_for() -> None:
    """What does not fit is left with whoever brings it."""
    queue = ByteQueue(4)

    assert queue.put(b"abc") == 3
    assert queue.put(b"def") == 1
    assert queue.put(b"ef") == 0
    assert (len(queue), queue.room) == (4, 0)
    assert queue.get(10) == b"abcd"


def test_a_queue_is_first_in_first_out() -> None:
    """Bytes are looked at and taken from the front, at most as many as are asked for."""
    queue = ByteQueue(8)
    queue.put(b"abcdef")

    assert queue.peek(2) == b"ab"
    assert queue.get(2) == b"ab"
    queue.drop(1)
    assert queue.get(2) == b"de"
    assert queue.get(2) == b"f"
    assert queue.get(2) == b""


async def test_everyone_who_waits_looks_again_when_a_queue_changes() -> None:
    """Putting in, taking out and `wake` are news; nothing put in and nothing taken out are none."""
    queue = ByteQueue(8)
    queue.put(b"a")
    heard: list[str] = []

    async def listen(name: str) -> None:
        await queue.changed()
        heard.append(name)

    for change in (lambda: queue.put(b"b"), lambda: queue.get(1), queue.wake):
        listeners = [asyncio.create_task(listen(name)) for name in "xy"]
        await asyncio.sleep(0)
        queue.put(b"")
        queue.drop(0)
        await asyncio.sleep(0)
        assert heard == []
        change()
        await asyncio.gather(*listeners)
        assert heard == ["x", "y"]
        heard.clear()


def test_a_queue_of_nothing_is_refused() -> None:
    """Nobody could ever put anything in."""
    with pytest.raises(ValueError, match="1 or more"):
        ByteQueue(0)


@pytest.mark.parametrize(
    ("baud", "clock_hz", "divisor"),
    [
        (115200, 3_686_400, 2),
        (9600, 3_686_400, 24),
        (230400, 3_686_400, 1),
        (50, 1_843_200, 2304),
        (110, 1_843_200, 1047),  # PC16550D, table III: 1047, 0.026 %
        (134, 1_843_200, 860),
        (2000, 1_843_200, 58),  # table III: 58, 0.69 %
    ],
)
def test_the_divisor_is_the_nearest_there_is(baud: int, clock_hz: int, divisor: int) -> None:
    """It is the clock over sixteen times the bit rate, rounded (8.3)."""
    assert LineSetting(baud=baud, clock_hz=clock_hz).divisor == divisor


@pytest.mark.parametrize(
    ("clock_hz", "baud", "divisor"),
    [
        (1_843_200, 115200, 1),
        (3_686_400, 115200, 2),
        (24_000_000, 115200, 13),
        (48_000_000, 115200, 26),
        (50_000_000, 115200, 27),
        (100_000_000, 115200, 54),
        (133_333_333, 115200, 72),
        (200_000_000, 115200, 109),
        ((1 << 32) - 1, 115200, 2330),
        (16_000_000, 57600, 17),  # 115200 would be 3.5 % off
        (12_000_000, 57600, 13),
        (4_000_000, 19200, 13),
        (32_768, 300, 7),
    ],
)
def test_a_port_begins_with_the_fastest_usual_rate(clock_hz: int, baud: int, divisor: int) -> None:
    """Of those that the clocks of real boards make; bounds are those of the arithmetic."""
    setting = LineSetting.of_port(clock_hz, None)

    assert (setting.baud, setting.divisor) == (baud, divisor)


@pytest.mark.parametrize(
    ("clock_hz", "speed", "divisor"),
    [
        (16_000_000, 115200, 9),
        (50_000_000, 115200, 27),
        (3_686_400, 1_000_000, 1),
        (1_000_000, 1, 62500),
    ],
)
def test_a_rate_that_a_node_states_is_made_as_nearly_as_can_be(
    clock_hz: int, speed: int, divisor: int
) -> None:
    """Firmware has set the port in the same way: a board is not refused for its clock."""
    setting = LineSetting.of_port(clock_hz, speed)

    assert setting.divisor == divisor
    assert setting.actual_baud == pytest.approx(clock_hz / 16 / divisor)


def test_a_clock_that_makes_no_rate_is_refused() -> None:
    """With the reason."""
    with pytest.raises(ValueError, match="0 baud with a clock of 15 Hz is not possible"):
        LineSetting.of_port(15, None)


def test_the_error_of_the_bit_rate_is_told() -> None:
    """PC16550D, table III: 2000 baud of 1.8432 MHz are 0.69 % off."""
    setting = LineSetting(baud=2000, clock_hz=1_843_200)

    assert setting.error == pytest.approx(-0.0069, abs=0.00005)
    assert setting.actual_baud == pytest.approx(1986.2, abs=0.05)


@pytest.mark.parametrize(
    ("setting", "lcr", "bits"),
    [
        (("N", 8, 2), Lcr(0x03), 10),
        (("E", 7, 2), Lcr(0x1A), 10),
        (("O", 7, 4), Lcr(0x0E), 11),
        (("N", 5, 3), Lcr(0x04), 7.5),
        (("M", 8, 2), Lcr(0x2B), 11),
        (("S", 6, 2), Lcr(0x39), 9),
    ],
)
def test_a_format_is_spelled_as_the_line_control_register(
    setting: tuple[str, int, int], lcr: Lcr, bits: float
) -> None:
    """Word length, stop bits and parity (8.1); a character takes its start bit and all of them."""
    parity, data_bits, stop_half_bits = setting
    made = LineSetting(9600, data_bits, parity, stop_half_bits)

    assert made.lcr == lcr
    assert made.character_s == pytest.approx(bits / 9600)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"baud": 0}, "not possible"),
        ({"baud": -9600}, "not possible"),
        ({"clock_hz": 0}, "not possible"),
        ({"baud": 921_600}, "the nearest is 230400"),
        ({"baud": 3}, "the nearest is 4"),
        ({"baud": 150_000}, "the nearest is 115200"),
        ({"data_bits": 4}, "5 to 8"),
        ({"data_bits": 9}, "5 to 8"),
        ({"parity": "X"}, "N, O, E, M, S"),
        ({"stop_half_bits": 3}, "use 1 or 2"),
        ({"stop_half_bits": 4, "data_bits": 5}, "use 1 or 1.5"),
        ({"stop_half_bits": 1}, "use 1 or 2"),
    ],
)
def test_what_the_port_can_not_do_is_refused(values: dict[str, int | str], message: str) -> None:
    """The error says what is possible."""
    with pytest.raises(ValueError, match=message):
        LineSetting(**values)  # type: ignore[arg-type]
