"""The serial port as a pseudo-terminal and as a TCP port, used by pyserial."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import termios
import threading
from typing import TYPE_CHECKING

import pytest
import serial as pyserial

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from virtmesh.testing.scripted_line import ScriptedLine
from virtmesh.uart.port import FarLines, LineError, PortLines
from virtmesh_client.serial.pty import PseudoTerminal, PtyPump, symlink_kept
from virtmesh_client.serial.raw_terminal import ScreenTracker
from virtmesh_client.serial.rfc2217 import CLIENTS, Rfc2217Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")
"""pyserial 3.5, in its client of RFC 2217."""

ALL_BYTES = bytes(range(256)) * 8


class Echo:
    """A machine that sends back what it receives."""

    def __init__(self, line: ScriptedLine) -> None:
        self._line = line
        self.count = 0

    def answer(self, data: bytes) -> None:
        """Wait for input, and send it back."""
        self.count += len(data)
        heard = self._line.heard(self.count)
        assert heard[self.count - len(data) :] == data
        self._line.say(data)


@pytest.fixture
def line() -> Iterator[ScriptedLine]:
    """Serve a line."""
    with ScriptedLine() as line:
        yield line


@pytest.fixture
def pty(line: ScriptedLine) -> Iterator[PseudoTerminal]:
    """Make a pseudo-terminal of it."""
    with (
        virtmesh_client.connect(line.address) as machine,
        contextlib.closing(PseudoTerminal()) as pty,
    ):
        pump = PtyPump(machine.serial().plug_in(), pty)
        thread = threading.Thread(target=pump.run)
        thread.start()
        yield pty
        pump.stop()
        thread.join()


@pytest.fixture
def address(line: ScriptedLine) -> Iterator[tuple[str, int]]:
    """Make a TCP port of it."""
    with virtmesh_client.connect(line.address) as machine:
        server = Rfc2217Server(
            ("127.0.0.1", 0), lambda: machine.serial().plug_in(), lambda _line: None
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        yield server.address
        server.stop()
        thread.join()


@pytest.fixture
def url(address: tuple[str, int]) -> str:
    """Return where pyserial finds it."""
    return f"rfc2217://{address[0]}:{address[1]}"


def test_a_pty_passes_every_byte_and_may_be_opened_again(
    line: ScriptedLine, pty: PseudoTerminal
) -> None:
    """Whoever has it open sets what he likes; the next one finds it as it was."""
    echo = Echo(line)
    for _ in range(3):
        with pyserial.Serial(pty.path, 115200, timeout=SECONDS) as port:
            port.write(ALL_BYTES)
            echo.answer(ALL_BYTES)
            assert port.read(len(ALL_BYTES)) == ALL_BYTES


def test_output_that_nobody_has_open_is_dropped(line: ScriptedLine, pty: PseudoTerminal) -> None:
    """As by a real port; it does not stop the line either."""
    line.say(b"lost" * 10_000)
    eventually(lambda: pty.dropped == 40_000)
    with pyserial.Serial(pty.path, timeout=SECONDS) as port:
        port.write(b"x")
        line.heard(1)
        line.say(b"now")
        assert port.read(3) == b"now"


def cook(path: str) -> None:
    """Set a terminal as a shell has it."""
    slave = os.open(path, os.O_RDWR | os.O_NOCTTY)
    modes = termios.tcgetattr(slave)
    modes[3] |= termios.ECHO | termios.ICANON | termios.ISIG
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    os.close(slave)


def is_cooked(path: str) -> bool:
    """Say whether a terminal echoes."""
    slave = os.open(path, os.O_RDWR | os.O_NOCTTY)
    echoes = bool(termios.tcgetattr(slave)[3] & termios.ECHO)
    os.close(slave)
    return echoes


def unread(path: str) -> int:
    """Open a pseudo-terminal for a moment; return how many bytes are there to be read."""
    file = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        return int.from_bytes(fcntl.ioctl(file, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(file)


@pytest.mark.parametrize("written", [b"", b"x"])
def test_output_that_a_user_did_not_read_is_not_for_the_next(
    line: ScriptedLine, pty: PseudoTerminal, written: bytes
) -> None:
    """Whether he only read, or wrote and closed at once, as a shell's redirection does."""
    with pyserial.Serial(pty.path, timeout=SECONDS) as port:
        line.say(b"unread")
        eventually(lambda: port.in_waiting == len(b"unread"))
        port.write(written)
    eventually(lambda: unread(pty.path) == 0)


def test_a_pty_that_was_left_cooked_is_raw_again(line: ScriptedLine, pty: PseudoTerminal) -> None:
    """A shell's stty, for example, must not make it echo to the machine."""
    echo = Echo(line)
    cook(pty.path)
    eventually(lambda: not is_cooked(pty.path))
    with pyserial.Serial(pty.path, timeout=SECONDS) as port:
        port.write(b"a\x03b")
        echo.answer(b"a\x03b")
        assert port.read(3) == b"a\x03b"


def test_the_link_to_a_pty_is_replaced_and_removed(tmp_path: Path) -> None:
    """Anything but a link is left alone."""
    link = tmp_path / "ttyV0"
    link.symlink_to("/nowhere")
    with symlink_kept(link, "/dev/pts/77"):
        assert str(link.readlink()) == "/dev/pts/77"
    assert not link.is_symlink()
    link.write_text("a file")
    with pytest.raises(FileExistsError), symlink_kept(link, "/dev/pts/77"):
        pass
    assert link.read_text() == "a file"


def test_a_link_that_can_not_be_is_named(tmp_path: Path) -> None:
    """The pseudo-terminal is there; the folder of the link is not."""
    link = tmp_path / "nowhere" / "tty"
    with pytest.raises(OSError, match="No such file") as caught, symlink_kept(link, "/dev/pts/77"):
        pass
    assert caught.value.filename == str(link)


def test_pyserial_passes_every_byte_over_rfc2217(line: ScriptedLine, url: str) -> None:
    """With settings other than the driver's, which it is told are taken."""
    echo = Echo(line)
    with pyserial.serial_for_url(
        url, baudrate=57600, bytesize=7, parity="E", stopbits=2, timeout=SECONDS
    ) as port:
        port.write(ALL_BYTES)
        echo.answer(ALL_BYTES)
        assert port.read(len(ALL_BYTES)) == ALL_BYTES


def test_pyserial_drives_and_reads_the_lines(line: ScriptedLine, url: str) -> None:
    """As by a null modem; a break arrives as one."""
    line.move(PortLines(dtr=True, rts=True))
    with pyserial.serial_for_url(url, timeout=SECONDS) as port:
        assert (port.cts, port.dsr, port.cd, port.ri) == (True, True, True, False)
        line.move(PortLines(dtr=False, rts=True))
        eventually(lambda: not port.dsr)
        assert port.cts
        port.rts = False
        port.dtr = False
        port.send_break(0.0)
        port.write(b"x")
        line.heard(2)
    assert line.do(lambda device: device.line.lines) == FarLines(cts=False, dsr=False, dcd=False)
    assert line.do(lambda device: device.line.port.errors) == [(0, LineError.BREAK)]


def test_clients_of_the_tcp_port_are_terminals_of_their_own(line: ScriptedLine, url: str) -> None:
    """All see what the machine sends; one that goes disturbs nobody."""
    with pyserial.serial_for_url(url, timeout=SECONDS) as stays:
        with pyserial.serial_for_url(url, timeout=SECONDS) as goes:
            line.say(b"both")
            assert (stays.read(4), goes.read(4)) == (b"both", b"both")
        line.say(b"one")
        assert stays.read(3) == b"one"


def test_a_telnet_client_without_options_gets_text(
    line: ScriptedLine, address: tuple[str, int]
) -> None:
    """Netcat, say: Enter is CR LF there, and bytes of 255 are doubled."""
    with socket.create_connection(address, timeout=SECONDS) as client:
        client.sendall(b"root\r\n")
        assert line.heard(5) == b"root\r"
        line.say(b"$ \xff!")
        received = b""
        while not received.endswith(b"!"):
            received += client.recv(4096)
    assert received.endswith(b"$ \xff\xff!")


def test_a_client_that_dies_leaves_room_for_the_next(
    line: ScriptedLine, address: tuple[str, int]
) -> None:
    """Any number, one after the other, however they end."""
    for number in range(2 * CLIENTS):
        with socket.create_connection(address, timeout=SECONDS) as client:
            client.sendall(b"x")
            assert len(line.heard(number + 1)) == number + 1
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_a_client_that_is_gone_before_it_is_served_leaves_no_terminal(
    line: ScriptedLine, address: tuple[str, int]
) -> None:
    """A scan of ports, say: it resets the connection that it has made."""
    for _ in range(8):
        with socket.create_connection(address, timeout=SECONDS) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with socket.create_connection(address, timeout=SECONDS) as client:
        client.sendall(b"x")
        assert line.heard(1) == b"x"
        eventually(lambda: line.do(lambda device: device.far_end.watchers) == 1)


def test_a_window_is_told_the_opposite_of_what_it_was_told() -> None:
    """It leaves the other screen if it was in it, also when the sequence came in pieces."""
    screen = ScreenTracker()
    screen.see(b"text \x1b[?10")
    screen.see(b"49h more")
    assert screen.reset.startswith(b"\x1b[?1049l\x1b[0m\x1b[?25h")
    screen.see(b"\x1b[?1049l")
    assert screen.reset.startswith(b"\x1b[0m\x1b[?25h")
