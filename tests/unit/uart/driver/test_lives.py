"""What is known of a port's processes, whenever it is found out what one had done that is gone."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.uart.driver import lives
from virtmesh.uart.driver.lives import SerialLives


@pytest.fixture
def port() -> SerialLives:
    """Make a port with a relay, whose process has gone, after three characters each way."""
    port = SerialLives(64, 64)
    port.has_relay = True
    port.to_send.put(b"abcde")
    port.now.received = 3
    port.sent(3)
    port.begin_burst(2)
    port.orphan()
    return port


def test_what_the_next_process_does_is_not_taken_for_the_last_ones(port: SerialLives) -> None:
    """It has come before it is known what the last one did."""
    port.begin()
    port.now.received += 5

    assert (port.ended.received, port.ended.sent, port.ended.in_doubt) == (3, 3, 2)
    port.sent(2, port.ended)
    port.settle()
    assert (port.now.received, port.now.sent, len(port.to_send)) == (5, 0, 0)


async def test_what_the_next_process_did_stays_counted_when_nobody_knows_of_the_last_one(
    port: SerialLives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was never reached: its end is not waited for for ever."""
    monkeypatch.setattr(lives, "SETTLE_S", 0.01)
    port.begin()
    port.now.received += 5

    await port.until_settled()

    assert port.is_settled
    assert port.now.received == port.ended.received == 5


async def test_a_process_that_is_settled_before_the_next_one_comes_leaves_nothing(
    port: SerialLives,
) -> None:
    """As where it was linked, and its end was seen at once."""
    port.settle()
    port.begin()
    async with asyncio.timeout(30):
        await port.until_settled()
    assert (port.now.received, port.now.sent, port.now.in_doubt) == (0, 0, 0)


def test_of_two_that_go_before_anything_is_known_the_first_is_what_is_asked_for(
    port: SerialLives,
) -> None:
    """The second one was never reached."""
    port.begin()
    port.orphan()
    port.begin()
    assert port.ended.received == 3
    port.settle()
    assert port.now.received == 0


def test_without_a_relay_nothing_is_to_be_found_out() -> None:
    """Who comes next begins with nothing."""
    port = SerialLives(64, 64)
    port.now.received = 3
    port.orphan()
    assert port.is_settled
    assert port.now.received == 0
