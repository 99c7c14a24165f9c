"""A terminal that comes back: what it goes on with, and what it says is lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from virtmesh.testing.scripted_line import ScriptedLine
from virtmesh_client.serial import Disconnected, Gap, Output, Reconnected, Restarted
from virtmesh_client.serial.inbox import EVENT_BYTES, LIMIT_BYTES, Inbox
from virtmesh_client.serial.outbox import Outbox
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Machine
    from virtmesh_client.serial import SerialEvent, SerialWatch

SCROLLBACK = 4096


@pytest.fixture
def line() -> Iterator[ScriptedLine]:
    """Serve a line with a small scrollback."""
    with ScriptedLine(SCROLLBACK) as line:
        yield line


@pytest.fixture
def machine(line: ScriptedLine) -> Iterator[Machine]:
    """Connect to it."""
    with virtmesh_client.connect(line.address) as machine:
        yield machine


@pytest.fixture
def watch(machine: Machine) -> Iterator[SerialWatch]:
    """Watch it, past the state of the line at the beginning."""
    with machine.serial().watch() as watch:
        take(watch, 2)
        yield watch


def take(watch: SerialWatch, count: int) -> list[SerialEvent]:
    """Return the next events."""
    return [next(watch) for _ in range(count)]


def test_output_goes_on_at_its_offset(line: ScriptedLine, watch: SerialWatch) -> None:
    """When the connection is back: no byte is lost, none comes twice."""
    line.say(b"before")
    assert next(watch) == Output(0, b"before")
    line.stop()
    assert isinstance(next(watch), Disconnected)
    line.do(lambda device: device.line.say(b"meanwhile"))
    line.start(anew=False)
    assert next(watch) == Reconnected()
    take(watch, 2)
    assert next(watch) == Output(6, b"meanwhile")


def test_another_life_of_the_service_is_told(line: ScriptedLine, watch: SerialWatch) -> None:
    """Offsets begin anew; the position belongs to the new epoch."""
    line.say(b"before")
    take(watch, 1)
    line.stop()
    line.start()
    gone, back, restarted = take(watch, 3)
    take(watch, 2)
    line.say(b"after")
    assert (type(gone), back) == (Disconnected, Reconnected())
    assert isinstance(restarted, Restarted)
    assert next(watch) == Output(0, b"after")
    assert watch.position == virtmesh_client.Position(5, restarted.epoch)


def test_what_left_the_scrollback_meanwhile_is_a_gap(
    line: ScriptedLine, watch: SerialWatch
) -> None:
    """With the number of bytes."""
    line.stop()
    line.do(lambda device: device.line.say(b"x" * (SCROLLBACK + 100)))
    line.start(anew=False)
    assert isinstance(next(watch), Disconnected)
    assert take(watch, 2) == [Reconnected(), Gap(100, 100)]


def test_what_was_missed_of_the_next_life_is_a_gap(line: ScriptedLine, machine: Machine) -> None:
    """When it has sent more than the scrollback holds before the terminal is there."""
    line.say(b"x" * (SCROLLBACK + 100))
    with machine.serial().watch(since=virtmesh_client.Position(7, "life before")) as watch:
        restarted, gap = take(watch, 2)
    assert isinstance(restarted, Restarted)
    assert gap == Gap(100, 100)


def restart(line: ScriptedLine) -> None:
    """Begin another life, with a prompt."""
    line.start()
    line.say(b"login: ")


def test_expect_sees_the_text_of_the_next_life(line: ScriptedLine, machine: Machine) -> None:
    """A script that waits for a prompt need not know that the machine was restarted."""
    with machine.serial() as serial:
        line.stop()
        begin = threading.Thread(target=restart, args=(line,))
        begin.start()
        serial.expect("login: ")
        begin.join()
        assert (serial.restarts, serial.missed_bytes) == (1, 0)


def test_input_written_while_the_service_is_gone_arrives(
    line: ScriptedLine, machine: Machine
) -> None:
    """It is held until the service is back."""
    with machine.serial() as serial:
        line.stop()
        eventually(lambda: serial.gone)
        serial.write(b"held", wait="sent")
        line.start()
        assert line.heard(4) == b"held"


def stop_after(line: ScriptedLine, count: int) -> None:
    """Stop when so many characters were received."""
    line.heard(count)
    line.stop()


def test_input_under_way_when_the_service_goes_is_uncertain(
    line: ScriptedLine, machine: Machine
) -> None:
    """The error says how much was taken and how much nobody knows of."""
    with machine.serial() as serial:
        line.take(10)
        stop = threading.Thread(target=stop_after, args=(line, 10))
        stop.start()
        with pytest.raises(DeviceLost, match="was lost during the write") as caught:
            serial.write(b"x" * 100)
        stop.join()
    metadata = caught.value.metadata
    assert (metadata["taken_characters"], metadata["uncertain_characters"]) == ("10", "90")
    assert caught.value.__notes__ == [
        "10 of 100 characters were taken, 90 more may have been taken"
    ]


def test_an_expectation_of_a_service_that_stays_away_says_so(
    line: ScriptedLine, machine: Machine
) -> None:
    """With the text that came before."""
    with machine.serial() as serial:
        line.say(b"half a promp")
        assert serial.expect("half")
        line.stop()
        with pytest.raises(
            DeviceLost, match=r"connection to serial is lost: .*'never' did not match.*' a promp'"
        ):
            serial.expect("never", timeout=0.3)


def test_a_reader_that_does_not_read_loses_the_oldest_output() -> None:
    """And is told how much, where it goes on."""
    inbox = Inbox()
    size = LIMIT_BYTES // 4 - EVENT_BYTES
    for number in range(6):
        inbox.put(Output(number * size, bytes(size)))
    assert inbox.take() == Gap(2 * size, 2 * size)
    assert [inbox.take() for _ in range(4)][-1] == Output(5 * size, bytes(size))
    assert not inbox


def test_a_gap_that_nobody_read_of_is_not_forgotten() -> None:
    """What was missed before is missed still."""
    inbox = Inbox()
    inbox.put(Gap(1000, 900))
    inbox.put(Output(1000, bytes(LIMIT_BYTES)))
    assert inbox.take() == Gap(1000 + LIMIT_BYTES, 900 + LIMIT_BYTES)
    assert not inbox


def test_a_service_that_says_it_took_more_than_was_sent_is_not_believed() -> None:
    """The account of a call never exceeds it."""
    outbox = Outbox()
    outbox.begin()
    outbox.taken(1 << 40, 0)
    assert outbox.settled == 0
