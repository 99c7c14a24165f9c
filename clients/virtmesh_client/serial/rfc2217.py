"""A TCP port that is the serial port: RFC 2217 and telnet, any number of clients.

Each connection is a terminal of its own on the line. A connection is served by two threads: one
carries output, the other takes what the client sends; `_lock` keeps what they send in one piece.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from virtmesh_client.serial.codecs import from_lines
from virtmesh_client.serial.com_port import ComPort
from virtmesh_client.serial.models import LineFormat, Output, PortLines
from virtmesh_client.serial.pump import Files, Pump
from virtmesh_client.serial.telnet import COM_PORT, Asked, Break, Telnet
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.serial.models import Event
    from virtmesh_client.serial.terminal import Terminal

CLIENTS = 32
"""Most connections at one time; one more is closed at once."""
STEP_SECONDS = 0.2
"""How often a suspended output looks whether it goes on."""


class Session(Pump):
    """One connection. Implements virtmesh_client.serial.com_port.Port."""

    def __init__(self, terminal: Terminal, files: Files) -> None:
        super().__init__(terminal, files)
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._telnet = Telnet(self._write)
        self._com_port = ComPort(self, self._answer)
        self._told = False
        self._telnet.start()

    def take(self, event: Event) -> None:
        """Pass on output, and what becomes of the lines."""
        match event:
            case Output(data=data):
                while not self._flowing.wait(STEP_SECONDS) and not self.files.ended:
                    pass
                with self._lock:
                    self.files.write(self._telnet.spell(data))
            case PortLines():
                self._com_port.notify(event)
            case LineFormat():
                self._com_port.start_with(event)

    def give(self, data: bytes) -> None:
        """Take what the client sent."""
        for item in self._telnet.receive(data):
            match item:
                case bytes():
                    self.send(item)
                case Break():
                    self.send_break()
                case Asked(option=option, payload=payload) if option == COM_PORT:
                    self._com_port.obey(payload)
        if self._telnet.has_com_port and not self._told:
            self._told = True
            self._com_port.tell_modem()

    def set_lines(self, *, cts: bool | None = None, dsr: bool | None = None) -> None:
        """Set lines of the machine; DCD goes with DSR."""
        self.terminal.set_lines(from_lines(cts=cts, dsr=dsr, dcd=dsr))

    def send_break(self) -> None:
        """Send a break."""
        self.send(b"", "break")

    def purge(self) -> None:
        """Drop output that the client has not been sent."""
        self.terminal.purge()

    def suspend(self, *, suspended: bool) -> None:
        """Send no more output, or go on."""
        if suspended:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _answer(self, code: int, payload: bytes) -> None:
        """Send the answer to a command, or news, to a client that knows them."""
        if self._telnet.has_com_port:
            self._telnet.ask(COM_PORT, bytes([code]) + payload)

    def _write(self, data: bytes) -> None:
        """Send what is no output."""
        with self._lock:
            self.files.write(data)


class Server:
    """Listens, and serves each client on a thread of its own, until `run` is interrupted."""

    def __init__(
        self, address: tuple[str, int], plug_in: Callable[[], Terminal], tell: Callable[[str], None]
    ) -> None:
        """Listen. Errors: OSError."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family)
        self._plug_in = plug_in
        self._tell = tell
        self._stopped = False
        self._lock = threading.Lock()
        self._sessions: dict[threading.Thread, Files] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def run(self) -> None:
        """Serve until `stop`, or an exception such as KeyboardInterrupt; then end every session."""
        try:
            while not self._stopped:
                connection, peer = self._socket.accept()
                self._serve(connection, f"{peer[0]}:{peer[1]}")
        except OSError:
            if not self._stopped:
                raise
        finally:
            self._socket.close()
            self._end()

    def stop(self) -> None:
        """Accept no more clients, and end `run`; from any thread."""
        self._stopped = True
        self._socket.shutdown(socket.SHUT_RD)

    def _serve(self, connection: socket.socket, peer: str) -> None:
        """Start a session."""
        with self._lock:
            if len(self._sessions) >= CLIENTS:
                self._tell(f"{peer} is turned away: {CLIENTS} clients are connected")
                connection.close()
                return
            # A short answer, such as an echo, must not wait for more.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setblocking(False)  # noqa: FBT003 - the name of the method says it
            files = Files(connection.fileno(), connection.fileno())
            thread = threading.Thread(
                target=self._work,
                args=(connection, files, peer),
                name=f"rfc2217-{peer}",
                daemon=True,
            )
            self._sessions[thread] = files
            thread.start()

    def _work(self, connection: socket.socket, files: Files, peer: str) -> None:
        """Serve one client to its end."""
        try:
            # Closed here as well: a client that is gone already ends its session before it runs.
            with contextlib.closing(self._plug_in()) as terminal:
                self._tell(f"{peer} is connected")
                Session(terminal, files).run()
            self._tell(f"{peer} is gone")
        except (OSError, VirtmeshError) as error:
            self._tell(f"{peer} is gone: {error}")
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with self._lock:
                del self._sessions[threading.current_thread()]
            connection.close()
            files.close()

    def _end(self) -> None:
        """End every session, and wait for it."""
        with self._lock:
            sessions = dict(self._sessions)
            for files in sessions.values():
                files.end()
        for thread in sessions:
            thread.join()
