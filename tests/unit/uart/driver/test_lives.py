"""What is known of a port's processes, whenever it is found out what one had done that is gone."""

from __future__ import annotations

import asyncio

import pytest

from virtmesh.uart.driver import lives
from virtmesh.uart.driver.lives import Life, SerialLives


@pytest.fixture
def port() -> SerialLives:
    """Make a port with a relay, after three characters each way, and two on the way out."""
    port = SerialLives(64, 64)
    port.has_relay = True
    port.to_send.put(b"abcde")
    port.now.received = 3
    port.sent(3)
    port.begin_burst(2)
    return port


def end(port: SerialLives) -> Life:
    """Have the process go; return its life."""
    life = port.now
    port.orphan()
    return life


def test_what_the_next_process_does_is_not_taken_for_the_last_ones(port: SerialLives) -> None:
    """It has come before it is known what the last one did."""
    ended = end(port)
    port.now.received += 5

    assert (ended.received, ended.sent, ended.in_doubt) == (3, 3, 2)
    assert port.waits_for(ended)
    port.sent(2, ended)
    port.settle()
    assert (port.now.received, port.now.sent, len(port.to_send)) == (5, 0, 0)


async def test_what_was_read_is_known_however_late_somebody_asks(
    port: SerialLives, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was never reached: its end is not waited for for ever."""
    monkeypatch.setattr(lives, "SETTLE_S", 0.01)
    ended = end(port)
    port.now.received += 5

    await port.until_settled()

    assert not port.waits_for(ended)
    assert (ended.received, port.now.received) == (3, 5)


async def test_a_process_that_is_settled_before_the_next_one_comes_leaves_nothing(
    port: SerialLives,
) -> None:
    """As where it was linked, and its end was seen at once."""
    end(port)
    port.settle()
    async with asyncio.timeout(30):
        await port.until_settled()
    assert (port.now.received, port.now.sent, port.now.in_doubt) == (0, 0, 0)


def test_of_two_that_go_before_anything_is_known_the_first_is_waited_for(
    port: SerialLives,
) -> None:
    """The second one was never reached."""
    first = end(port)
    second = end(port)
    assert port.waits_for(first)
    assert (first.received, second.received) == (3, 0)
    port.settle()
    assert not port.waits_for(second)


def test_without_a_relay_nothing_is_to_be_found_out() -> None:
    """Who comes next begins with nothing."""
    port = SerialLives(64, 64)
    port.now.received = 3
    ended = end(port)
    assert not port.waits_for(ended)
    assert port.now.received == 0
