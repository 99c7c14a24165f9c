"""What faults of serial ports and input devices do to what comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli
    from virtmesh_client import Machine

pytestmark = pytest.mark.processes


@pytest.fixture
def machine(cli: Cli) -> Iterator[Machine]:
    """Run a machine with a serial port and a keyboard."""
    cli.up("--device", "input,name=keyboard,personality=keyboard")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


@pytest.mark.parametrize(
    ("words", "counter", "count"),
    [
        ("overrun every=3", "overruns", 4),
        ("parity-error every=4", "parity_errors", 3),
        ("framing-error limit=1", "framing_errors", 1),
        ("break every=6", "breaks", 2),
        ("noise limit=1", "framing_errors", 1),
    ],
)
def test_a_port_counts_what_the_line_did(
    machine: Machine, words: str, counter: str, count: int
) -> None:
    """Of twelve characters; the first bit of all is the start bit of the first one."""
    machine.faults("serial").add(words)
    with machine.serial() as serial:
        before = getattr(serial.stats(), counter)
        serial.write(b"abcdefghijkl")
        eventually(lambda: serial.stats().waiting_bytes == 0)
        assert getattr(serial.stats(), counter) - before == count
    assert machine.faults("serial").clear()[0].hits == count


def test_noise_changes_characters_at_its_bit_error_rate(machine: Machine) -> None:
    """The events are bits: ten of each character that has 8 data bits and no parity."""
    faults = machine.faults("serial")
    faults.add("noise probability=0.01 seed=3")
    with machine.serial() as serial:
        serial.write(b"x" * 2000)
    (fault,) = faults.clear()
    assert fault.seen == 20_000
    assert 130 < fault.hits < 270


def received(machine: Machine, words: str) -> list[str]:
    """Order a fault, press four keys, one after the other; return which keys went down."""
    faults = machine.faults("keyboard")
    with machine.input("keyboard") as keyboard, keyboard.watch(seconds=60) as watch:
        faults.add(words)
        for key in ("a", "b", "c", "d"):
            keyboard.press(key)
        assert faults.clear()[0].hits == 1
        keyboard.press("esc")
        found: list[str] = []
        while not found or found[-1] != "KEY_ESC 1":
            event = str(next(watch).event)
            if event.startswith("KEY_"):
                found.append(event)
    return [one.removesuffix(" 1").removeprefix("KEY_") for one in found if one.endswith(" 1")]


@pytest.mark.parametrize(
    ("words", "arrives"),
    [
        ("dropped-packet after=1 limit=1", ["A", "C", "D", "ESC"]),
        ("doubled-packet after=1 limit=1", ["A", "B", "B", "C", "D", "ESC"]),
        ("swapped-packet after=1 limit=1", ["A", "C", "B", "D", "ESC"]),
    ],
)
def test_packets_are_dropped_doubled_and_swapped(
    machine: Machine, words: str, arrives: list[str]
) -> None:
    """Whole, and those around them come as they are."""
    assert received(machine, words) == arrives


def test_a_packet_that_waits_for_the_next_one_does_not_wait_for_ever(machine: Machine) -> None:
    """It is delivered by itself after a second."""
    machine.faults("keyboard").add("swapped-packet limit=1")
    with machine.input("keyboard") as keyboard, keyboard.watch(seconds=60) as watch:
        keyboard.press("a")
        assert str(next(watch).event) == "KEY_A 1"


def test_a_stuck_queue_of_a_keyboard_delivers_when_its_fault_is_taken_back(
    machine: Machine,
) -> None:
    """A device that is served on the event loop does as the disk does."""
    faults = machine.faults("keyboard")
    with machine.input("keyboard") as keyboard, keyboard.watch(seconds=60) as watch:
        faults.add("stuck-queue queue=0")
        # The buffers that it holds are used first.
        pressed = 0
        while not keyboard.stats().packets_waiting:
            keyboard.press("a")
            keyboard.release("a")
            pressed += 2
        faults.clear()
        keys = [next(watch).event for _ in range(2 * pressed)]
    assert sum(str(event).startswith("KEY_A") for event in keys) == pressed
