"""The pieces between a guest's console and its serial port, and the buttons of a guest."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from virtmesh_client.guest.console import LineEnds
from virtmesh_client.guest.hardware import QMP_SOCKET, UML_ID, QemuHardware, UmlHardware
from virtmesh_client.guest.port_bytes import PIECE, WINDOW, Input, Output
from virtmesh_common.api.kernel.v1 import guest_pb2 as pb
from virtmesh_common.errors import GuestError


def sizes(sent: list[pb.AttachGuestRequest]) -> list[int]:
    """Return how many bytes each message carries, and forget the messages."""
    found = [len(one.output) or one.input_taken for one in sent]
    sent.clear()
    return found


def test_output_that_was_not_taken_is_sent_again() -> None:
    """On the next stream, from its first byte; meanwhile nothing is sent."""
    sent: list[pb.AttachGuestRequest] = []
    output = Output(sent.append)
    output.put(bytes(PIECE + 10))
    first = sizes(sent)
    output.taken(PIECE)
    output.lost()
    output.put(b"more")
    held = sizes(sent)
    output.attached()
    again = sizes(sent)
    output.taken(WINDOW)  # more than was sent: no more than that counts

    assert (first, held, again) == ([PIECE, 10], [], [14])
    assert (len(output), output.room) == (0, WINDOW)


def test_input_is_reported_when_the_guest_has_it() -> None:
    """A piece that is written in parts counts at its end; a doubled byte counts once."""
    sent: list[pb.AttachGuestRequest] = []
    written: list[bytes] = []

    def write(data: bytes) -> int:
        written.append(data[:2])
        return 2

    given = Input(sent.append, write)
    given.put(b"\x01\x01ab", 3)
    given.step()
    before = sizes(sent)
    given.step()

    assert (before, sizes(sent), b"".join(written)) == ([], [3], b"\x01\x01ab")


def test_input_of_a_lost_stream_is_written_and_not_reported() -> None:
    """The next stream knows nothing of it; what comes on that is reported."""
    sent: list[pb.AttachGuestRequest] = []
    written: list[bytes] = []

    def write(data: bytes) -> int:
        written.append(data)
        return len(data)

    given = Input(sent.append, write)
    given.put(b"old", 3)
    given.lost()
    given.put(b"new!", 4)
    while given:
        given.step()

    assert (written, sizes(sent)) == ([b"old", b"new!"], [4])


def test_input_that_nobody_reads_is_bounded_over_many_streams() -> None:
    """One window of it is kept."""
    given = Input(lambda _message: None, len)
    for _ in range(10):
        for _ in range(WINDOW // PIECE):
            given.put(bytes(PIECE), PIECE)
        given.lost()

    assert len(given) == WINDOW // PIECE


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([b"a\nb"], b"a\r\nb"),
        ([b"a\r\nb\r\n"], b"a\r\nb\r\n"),
        ([b"a\r", b"\nb"], b"a\r\nb"),
        ([b"a", b"", b"\n\n"], b"a\r\n\r\n"),
        ([b"a\r", b"", b"\n"], b"a\r\n"),
    ],
)
def test_line_ends_are_cr_lf(pieces: list[bytes], shown: bytes) -> None:
    """Never CR CR LF, wherever the output is cut."""
    mend = LineEnds()

    assert b"".join(map(mend, pieces)) == shown


@contextmanager
def serving(
    path: Path, kind: socket.SocketKind, talk: Callable[[socket.socket], None]
) -> Iterator[None]:
    """Let a guest talk at its control socket."""
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(str(path))
        if kind is socket.SOCK_STREAM:
            server.listen()
        thread = threading.Thread(target=talk, args=(server,))
        thread.start()
        yield
        thread.join()


def test_the_buttons_of_qemu(tmp_path: Path) -> None:
    """A reset does not end it, though a reboot does; events in between are passed over."""
    heard: list[object] = []

    def talk(server: socket.socket) -> None:
        with server.accept()[0] as peer, peer.makefile("rwb") as lines:
            lines.write(b'{"QMP": {}}\n')
            lines.flush()
            for line in lines:
                message = json.loads(line)
                heard.append((message["execute"], message["arguments"]))
                lines.write(b'{"event": "RTC_CHANGE"}\n{"return": {}}\n')
                if message["execute"] == "system_reset":
                    lines.write(b'{"event": "RESET"}\n')
                lines.flush()

    with serving(tmp_path / QMP_SOCKET, socket.SOCK_STREAM, talk):
        done = QemuHardware(tmp_path).press_reset()

    assert done
    assert heard == [
        ("qmp_capabilities", {}),
        ("set-action", {"reboot": "reset"}),
        ("system_reset", {}),
        ("set-action", {"reboot": "shutdown"}),
    ]


def test_the_buttons_of_user_mode_linux(tmp_path: Path) -> None:
    """Ctrl-Alt-Delete is one datagram; a refusal, and no answer, are errors."""
    heard: list[tuple[object, ...]] = []
    (tmp_path / UML_ID).mkdir()
    hardware = UmlHardware(tmp_path)

    def talk(server: socket.socket) -> None:
        for error in (0, 1):
            data, peer = server.recvfrom(1024)
            heard.append(struct.unpack("=III512s", data))
            server.sendto(struct.pack("=III", error, 0, 5) + b"hello", peer)

    with serving(tmp_path / UML_ID / "mconsole", socket.SOCK_DGRAM, talk):
        hardware.press_power()
        with pytest.raises(GuestError, match="refuses 'cad': hello"):
            hardware.press_power()
    (tmp_path / UML_ID / "mconsole").unlink()
    with pytest.raises(GuestError, match="does not answer"):
        hardware.press_power()

    assert heard[0] == (0xCAFEBABE, 2, 3, b"cad".ljust(512, b"\0"))
    assert not hardware.press_reset()
    assert (hardware.encode(b"\x01"), hardware.line_break()) == (b"\x01", b"")


def test_a_break_and_ctrl_a_pass_qemus_multiplexer(tmp_path: Path) -> None:
    """Ctrl-A is doubled; a break is its command."""
    hardware = QemuHardware(tmp_path)

    assert hardware.encode(b"a\x01x") == b"a\x01\x01x"
    assert hardware.line_break() == b"\x01b"
    with pytest.raises(GuestError, match="QEMU does not answer"):
        hardware.press_power()
