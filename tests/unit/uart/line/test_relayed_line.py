"""Input on its way to a process that goes: what the driver has not read comes once more."""

from __future__ import annotations

from virtmesh.uart.port import LineError
from virtmesh.uart.relayed_line import RelayedLine
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
