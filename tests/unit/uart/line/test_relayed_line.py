"""Input on its way to a process that goes: what the driver has not read comes once more."""

from __future__ import annotations

import sys

from virtmesh.uart.port import LINE_LIMIT, Flow, LineError
from virtmesh.uart.relayed_line import UNREAD_MAX, WINDOW, RelayedLine
from virtmesh_common.api.uart.v1 import uart_pb2 as pb


def given(sent: list[pb.OpenRequest]) -> bytes:
    """Return the characters that a process was given."""
    return b"".join(one.input.data for one in sent)


def test_what_was_taken_and_not_read_comes_first_again() -> None:
    """Of ten, eight were taken, and five of them read."""
    line, first, second = RelayedLine(), list[pb.OpenRequest](), list[pb.OpenRequest]()
    line.link(first.append)
    line.send_now(b"0123456789")
    line.taken(8, 0, read=5)
    line.unlink()
    line.conclude(read=5)
    line.link(second.append)
    assert given(first) == b"0123456789"
    assert given(second) == b"56789"


def test_the_driver_knows_better_than_the_last_report() -> None:
    """Three were reported taken; the driver has seven."""
    line, second = RelayedLine(), list[pb.OpenRequest]()
    line.link(lambda _: None)
    line.send_now(b"0123456789")
    line.taken(3, 0, read=3)
    line.unlink()
    line.conclude(read=7)
    line.link(second.append)
    assert given(second) == b"789"
    assert line.waiting == 3


def test_what_was_overrun_is_not_sent_again() -> None:
    """Two of six were lost in the receiver: four came, and all were read."""
    line, second = RelayedLine(), list[pb.OpenRequest]()
    line.link(lambda _: None)
    line.send_now(b"012345")
    line.taken(6, 2, read=4)
    line.unlink()
    line.conclude(read=4)
    line.link(second.append)
    assert second == []


def test_what_had_arrived_before_an_overrun_comes_again() -> None:
    """Sixteen were in the receiver, unread, when four more found no room."""
    line, second = RelayedLine(), list[pb.OpenRequest]()
    line.link(lambda _: None)
    line.send_now(b"0123456789abcdefLOST", flow=Flow.NONE)
    line.taken(20, 4, read=0)
    line.unlink()
    line.conclude(read=0)
    line.link(second.append)
    assert given(second) == b"0123456789abcdef"


def test_a_line_full_of_single_characters_is_given_in_order_and_looked_at_once() -> None:
    """A look at all that is before each of them would be 134 million steps."""
    line, steps, second = RelayedLine(), 0, list[pb.OpenRequest]()
    for number in range(LINE_LIMIT):
        line.send_now(bytes([number % 251]))

    def count(_frame: object, _event: str, _arg: object) -> None:
        nonlocal steps
        steps += 1
        assert steps < 50 * LINE_LIMIT

    sys.setprofile(count)
    try:
        line.link(second.append)
    finally:
        sys.setprofile(None)
    assert given(second) == bytes(number % 251 for number in range(WINDOW))


def test_a_process_gets_the_part_of_an_input_that_it_has_not() -> None:
    """The first of two inputs goes in two parts."""
    line, sent = RelayedLine(), list[pb.OpenRequest]()
    line.link(sent.append)
    line.send_now(b"a" * (WINDOW - 2))
    line.send_now(b"bcdef")
    line.send_now(b"gh")
    assert given(sent)[-2:] == b"bc"
    line.taken(4, 0, read=4)
    assert given(sent)[-6:] == b"bcdefg"


def test_a_process_that_says_it_took_more_than_there_was_fills_no_memory() -> None:
    """What the driver can't have read by that is kept up to a limit."""
    line, second = RelayedLine(), list[pb.OpenRequest]()
    line.link(lambda _: None)
    for round_ in range(1, 5):
        line.send_now(bytes([round_]) * UNREAD_MAX)
        line.taken((1 << 62) + round_ * UNREAD_MAX, 0, read=0)
    line.unlink()
    line.conclude(read=0)
    line.link(second.append)
    assert line.waiting <= 2 * UNREAD_MAX


def test_a_process_that_lives_keeps_what_it_was_given() -> None:
    """Its stream had ended, and it gets another: nothing is given to it twice."""
    line, second = RelayedLine(), list[pb.OpenRequest]()
    line.link(lambda _: None)
    line.send_now(b"0123456789")
    line.taken(4, 0, read=2)
    line.unlink()
    line.leave_given()
    line.send_now(b"ab")
    line.link(second.append)
    assert given(second) == b"ab"
    assert line.waiting == 2


def test_errors_of_characters_stay_with_them() -> None:
    """A break that the driver has not read is a break again."""
    line, second = RelayedLine(), list[pb.OpenRequest]()
    line.link(lambda _: None)
    line.send_now(b"ab")
    line.send_now(b"", error=LineError.BREAK)
    line.taken(3, 0, read=1)
    line.unlink()
    line.conclude(read=1)
    line.link(second.append)
    assert [(one.input.data, one.input.error) for one in second] == [
        (b"b", pb.LINE_ERROR_UNSPECIFIED),
        (b"", pb.LINE_ERROR_BREAK),
    ]
