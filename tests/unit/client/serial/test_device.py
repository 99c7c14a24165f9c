"""A serial port in the library: write, read, expect, lines, and what a call says when it fails."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import eventually
from virtmesh.testing.scripted_line import ScriptedLine
from virtmesh.uart.port import LineError, LineFormat, PortLines
from virtmesh_client import OLDEST, AsyncSerial, Serial
from virtmesh_client.serial import Output
from virtmesh_client.serial.outbox import UNSETTLED_MAX
from virtmesh_client.serial.patterns import KEPT_BYTES
from virtmesh_common.errors import BadValue, DeviceNotReady, ServiceUnavailable, VirtmeshError
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Machine

SOON = 0.05
"""Seconds that a call which is to fail waits."""


@pytest.fixture
def line() -> Iterator[ScriptedLine]:
    """Serve a line whose machine does what the test says."""
    with ScriptedLine() as line:
        yield line


@pytest.fixture
def machine(line: ScriptedLine) -> Iterator[Machine]:
    """Connect to it."""
    with virtmesh_client.connect(line.address) as machine:
        yield machine


@pytest.fixture
def serial(machine: Machine) -> Iterator[Serial]:
    """Plug a terminal in."""
    with machine.serial() as serial:
        yield serial


def test_both_faces_have_the_same_methods() -> None:
    """With the same parameters and defaults."""
    shapes = [
        {
            name: str(inspect.signature(member).replace(return_annotation=None))
            for name, member in vars(face).items()
            if inspect.isfunction(member) and not name.startswith("_") and name != "plug_in"
        }
        for face in (Serial, AsyncSerial)
    ]
    assert shapes[0] == shapes[1]


def test_a_conversation(line: ScriptedLine, serial: Serial) -> None:
    """What is behind a match stays for the next call."""
    line.say(b"Welcome\r\nlogin: ")
    match = serial.expect("login: ")
    sent = serial.send_line("root")
    assert match.text == "Welcome\r\n"
    assert line.heard(5) == b"root\r"
    assert (sent.characters, sent.outcome, sent.overrun) == (5, "taken", 0)
    line.say(b"# ls\r\n# ")
    serial.expect("# ")
    assert serial.expect("# ").before == b"ls\r\n"


def test_of_several_patterns_the_first_match_in_the_text_is_taken(
    line: ScriptedLine, serial: Serial
) -> None:
    """Whatever their order."""
    line.say(b"error 42, then $ ")
    match = serial.expect(["$ ", re.compile(r"error (\d+)"), b"nothing"])
    assert (match.index, match.groups, match.after) == (1, ("42",), b"error 42")


def test_an_unmet_expectation_shows_what_came_instead(line: ScriptedLine, serial: Serial) -> None:
    """Escaped; with the pattern and the time."""
    line.say(b"Pass\xffwort: \x1b[0m\n")
    serial.expect("Pass")
    with pytest.raises(ExpectTimeout) as caught:
        serial.expect(["login: ", re.compile("x+")], timeout=SOON)
    assert str(caught.value).startswith("serial did not send 'login: ' or /'x+'/ within 0.0")
    assert str(caught.value).endswith(r"since the last match: '\xffwort: \x1b[0m\n'")
    assert serial.unmatched == b"\xffwort: \x1b[0m\n"


def test_the_shown_text_is_cut_from_the_front(line: ScriptedLine, serial: Serial) -> None:
    """The newest text says most."""
    line.say(b"old" + b"-" * 1000 + "größer".encode())
    serial.expect("old")
    with pytest.raises(ExpectTimeout, match=r"\.\.\.'-+größer'$") as caught:
        serial.expect("never", timeout=SOON)
    assert len(str(caught.value)) < 600


def test_text_is_whole_characters_and_bytes_are_the_truth(
    line: ScriptedLine, serial: Serial
) -> None:
    """A character in two pieces matches when it is complete; other bytes pass untouched."""
    data = "é".encode()
    line.say(b"\x00\xfe" + data[:1])
    assert serial.read() == b"\x00\xfe\xc3"
    line.say(data)
    line.say(b"\xa9!")
    match = serial.expect(re.compile("é."))
    assert (match.before, match.after) == (b"", data + b"\xa9")
    assert serial.read(1) == b"!"


def arrived(serial: Serial, offset: int) -> None:
    """Wait until output up to an offset has arrived."""
    eventually(lambda: serial.position.offset == offset)


def test_a_match_in_more_text_than_is_kept_is_found(line: ScriptedLine, serial: Serial) -> None:
    """Text is searched before it is dropped."""
    line.say(b"first>")
    for number in range(1, 11):
        line.say(b"x" * 400_000)
        arrived(serial, 6 + number * 400_000)
    assert serial.expect("first>").before == b""
    line.say(b"last>")
    assert serial.expect("last>").before.endswith(b"x" * KEPT_BYTES)
    assert serial.missed_bytes == 0


def test_read_returns_what_there_is_when_the_time_is_over(
    line: ScriptedLine, serial: Serial
) -> None:
    """Or just so many bytes, as soon as they are there."""
    line.say(b"abcdef")
    assert serial.read(4) == b"abcd"
    assert serial.read(4, timeout=SOON) == b"ef"
    assert serial.read(timeout=0.0) == b""


def test_a_read_of_nothing_waits_for_nothing(serial: Serial) -> None:
    """And fewer than nothing is refused."""
    assert serial.read(0, timeout=None) == b""
    with pytest.raises(ValueError, match="0 or more"):
        serial.read(-1)


def test_a_tail_is_as_long_as_there_is_output(line: ScriptedLine, machine: Machine) -> None:
    """However much is asked for; less than nothing is refused."""
    line.say(b"all there is")
    with machine.serial(tail=1 << 40) as serial:
        assert serial.expect("is").before == b"all there "
    with pytest.raises(ValueError, match="0 or more"):
        machine.serial(tail=-1).open()


def test_an_empty_pattern_is_refused(serial: Serial) -> None:
    """It would match at once."""
    with pytest.raises(ValueError, match="can't expect ''"):
        serial.expect("")


def test_a_machine_that_takes_nothing_is_told_with_an_account(
    line: ScriptedLine, serial: Serial
) -> None:
    """What was taken is known; the rest stays on the line."""
    line.take(10)
    with pytest.raises(DeviceNotReady, match="takes no input") as caught:
        serial.write(b"x" * 100, timeout=SOON)
    assert caught.value.metadata["taken_characters"] == "10"
    assert caught.value.metadata["uncertain_characters"] == "0"
    line.take(1000)
    assert len(line.heard(100)) == 100


def test_a_writer_waits_for_room(line: ScriptedLine, serial: Serial) -> None:
    """More than a window is not on its way at one time."""
    line.take(0)
    with pytest.raises(DeviceNotReady) as caught:
        serial.write(b"x" * (2 * UNSETTLED_MAX), wait="sent", timeout=SOON)
    assert caught.value.metadata["sent_characters"] == str(UNSETTLED_MAX)


def test_ten_mebibytes_in_pieces_arrive_in_order(line: ScriptedLine, serial: Serial) -> None:
    """With progress up to the end."""
    pieces = [bytes([n % 251]) * (100_000 + n) for n in range(100)]
    told: list[int] = []
    sent = serial.write(iter(pieces), progress=told.append)
    content = b"".join(pieces)
    assert sent.characters == told[-1] == len(content)
    assert line.heard(len(content)) == content


def test_a_burst_counts_what_it_overran(line: ScriptedLine, serial: Serial) -> None:
    """Without looking at the receiver's room."""
    line.take(16)
    sent = serial.write(b"x" * 1000, flow="none")
    assert (sent.characters, sent.overrun) == (1000, 984)


def test_breaks_and_errors_arrive_with_their_characters(line: ScriptedLine, serial: Serial) -> None:
    """In order with the rest."""
    serial.write(b"a")
    assert serial.send_break().characters == 1
    serial.inject_error("parity", b"bc")
    assert line.heard(4) == b"a\0bc"
    assert line.do(lambda device: device.line.port.errors) == [
        (1, LineError.BREAK),
        (2, LineError.PARITY),
        (3, LineError.PARITY),
    ]


def test_input_that_is_not_possible_is_refused(line: ScriptedLine, serial: Serial) -> None:
    """A break takes no data. The next call works."""
    with pytest.raises(BadValue):
        serial.inject_error("break", b"x")
    line.say(b"hello")
    assert serial.expect("hello")


def test_modem_lines_are_set_one_by_one(line: ScriptedLine, serial: Serial) -> None:
    """Those that are not named stay."""
    assert serial.lines() == virtmesh_client.serial.Lines(cts=True, dsr=True, ri=False, dcd=True)
    serial.set_lines(cts=False, ri=True)
    now = line.do(lambda device: device.line.lines)
    assert (now.cts, now.dsr, now.ri, now.dcd) == (False, True, True, True)


def test_the_state_and_the_counters_of_the_port(line: ScriptedLine, serial: Serial) -> None:
    """As the service knows them."""
    line.say(b"12345")
    serial.write(b"123")
    info, stats = serial.info(), serial.stats()
    assert (info.name, info.output_offset, info.watchers, str(info.format)) == (
        "serial", 5, 1, "115200 8N1",
    )  # fmt: skip
    assert (stats.received, stats.transmitted) == (3, 5)


def test_a_watch_follows_output_lines_and_format(line: ScriptedLine, machine: Machine) -> None:
    """Independent of other terminals; it ends when it is closed."""
    with machine.serial().watch() as watch:
        assert str(next(watch)) == "115200 8N1"
        assert next(watch) == virtmesh_client.serial.PortLines(*[False] * 5)
        line.say(b"abc")
        assert next(watch) == Output(0, b"abc")
        line.move(PortLines(dtr=True))
        assert next(watch) == virtmesh_client.serial.PortLines(True, *[False] * 4)  # noqa: FBT003
        line.set_format(LineFormat(9600, 7, "E", 4))
        assert str(next(watch)) == "9600 7E2"
        watch.close()
        assert list(watch) == []


def test_a_terminal_begins_where_it_is_told(line: ScriptedLine, machine: Machine) -> None:
    """With what comes from now on, with a tail, or at a position."""
    line.say(b"0123456789")
    with (
        machine.serial() as now,
        machine.serial(tail=3) as tail,
        machine.serial(since=OLDEST) as oldest,
    ):
        position = now.position
        line.say(b"ab")
        assert now.read(2) == b"ab"
        assert tail.read(5) == b"789ab"
        assert oldest.read(12) == b"0123456789ab"
    with machine.serial(since=position) as later:
        assert later.read(2) == b"ab"


def test_a_closed_terminal_goes_on_where_it_was(line: ScriptedLine, serial: Serial) -> None:
    """The next call plugs in again; what came meanwhile is there, what was there too."""
    line.say(b"one ")
    serial.expect("one", timeout=5)
    serial.close()
    line.say(b"two")
    assert serial.expect("two").before == b" "


def close_when_waiting(serial: Serial) -> None:
    """Close a terminal whose owner has taken in what has arrived."""
    eventually(lambda: len(serial._text) == 4)
    serial.close()


def test_close_from_another_thread_ends_a_call(line: ScriptedLine, serial: Serial) -> None:
    """With an error, not with silence."""
    line.say(b"text")
    closer = threading.Thread(target=close_when_waiting, args=(serial,))
    closer.start()
    with pytest.raises(VirtmeshError, match="closed"):
        serial.expect("never")
    closer.join()


def test_no_service_is_an_error_at_once(machine: Machine, line: ScriptedLine) -> None:
    """Only a terminal that was plugged in comes back by itself."""
    line.stop()
    with pytest.raises(ServiceUnavailable):
        machine.serial().open()


async def test_a_cancelled_expectation_ends_and_the_next_one_works(line: ScriptedLine) -> None:
    """In the asyncio face."""
    async with (
        await virtmesh_client.aconnect(line.address) as machine,
        machine.serial() as serial,
    ):
        waiting = asyncio.create_task(serial.expect("never"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(line.say, b"hello")
        assert (await serial.expect("hello")).after == b"hello"
        assert (await serial.send_line("x")).characters == 2
        async with await serial.watch(since=OLDEST) as watch:
            events = [await anext(watch) for _ in range(3)]
        assert events[-1] == Output(0, b"hello")
