"""A TCP server for the serial port: RFC 2217 and plain Telnet, for several clients at once.

Each connection has its own terminal on the line, and two threads: one sends output, the other
handles what the client sends. Invariant: a thread holds `_lock` while it writes to the connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from virtmesh_client.serial.codecs import from_lines
from virtmesh_client.serial.com_port import ComPort
from virtmesh_client.serial.keepalive import keep_alive
from virtmesh_client.serial.models import LineFormat, Output, PortLines
from virtmesh_client.serial.pump import FilePair, Pump
from virtmesh_client.serial.telnet import COM_PORT, BreakKey, Subnegotiation, Telnet
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.serial.models import SerialEvent
    from virtmesh_client.serial.terminal import SerialTerminal

CLIENTS = 32
"""Most connections at one time. Further ones are closed at once."""
STEP_SECONDS = 0.2
"""How often suspended output checks whether the session has ended."""


class Rfc2217Session(Pump):
    """One connection. Implements virtmesh_client.serial.com_port.PortActions."""

    def __init__(self, terminal: SerialTerminal, files: FilePair) -> None:
        super().__init__(terminal, files)
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._telnet = Telnet(self._write)
        self._com_port = ComPort(self, self._answer)
        self._told = False
        self._telnet.start()

    def take(self, event: SerialEvent) -> None:
        """Send output, and changes of the lines, to the client."""
        match event:
            case Output(data=data):
                while not self._flowing.wait(STEP_SECONDS) and not self.files.ended:
                    pass
                with self._lock:
                    self.files.write(self._telnet.spell(data))
            case PortLines():
                self._com_port.send_line_changes(event)
            case LineFormat():
                self._com_port.start_with(event)

    def give(self, data: bytes) -> None:
        """Handle bytes from the client: input, breaks and commands."""
        for item in self._telnet.receive(data):
            match item:
                case bytes():
                    self.send(item)
                case BreakKey():
                    self.send_break()
                case Subnegotiation(option=option, payload=payload) if option == COM_PORT:
                    self._com_port.handle_command(payload)
        if self._telnet.has_com_port and not self._told:
            self._told = True
            self._com_port.send_modem_state()

    def set_lines(self, *, cts: bool | None = None, dsr: bool | None = None) -> None:
        """Set lines of the machine. DCD gets the state of DSR."""
        self.terminal.set_lines(from_lines(cts=cts, dsr=dsr, dcd=dsr))

    def send_break(self) -> None:
        """Send a break to the machine."""
        self.send(b"", "break")

    def purge(self) -> None:
        """Drop output that was not sent to the client yet."""
        self.terminal.purge()

    def suspend(self, *, suspended: bool) -> None:
        """Suspend or resume the output to the client."""
        if suspended:
            self._flowing.clear()
        else:
            self._flowing.set()

    def _answer(self, code: int, payload: bytes) -> None:
        """Send a response or a notification, if the client speaks RFC 2217."""
        if self._telnet.has_com_port:
            self._telnet.ask(COM_PORT, bytes([code]) + payload)

    def _write(self, data: bytes) -> None:
        """Send Telnet commands to the client."""
        with self._lock:
            self.files.write(data)


class Rfc2217Server:
    """Listens for clients, and serves each on its own threads until `run` ends.

    `plug_in` returns an open terminal for a client; `tell` gets a line of text about each client.
    """

    def __init__(
        self,
        address: tuple[str, int],
        plug_in: Callable[[], SerialTerminal],
        tell: Callable[[str], None],
    ) -> None:
        """Listen. Errors: OSError."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.create_server(address, family=family)
        self._plug_in = plug_in
        self._tell = tell
        self._stopped = False
        self._lock = threading.Lock()
        self._sessions: dict[threading.Thread, FilePair] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listening socket."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def run(self) -> None:
        """Serve until `stop` or an exception such as KeyboardInterrupt, then end all sessions."""
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
        """Accept no more clients, and end `run`. Any thread may call this."""
        self._stopped = True
        self._socket.shutdown(socket.SHUT_RD)

    def _serve(self, connection: socket.socket, peer: str) -> None:
        """Start the session of a client, unless there are too many."""
        with self._lock:
            if len(self._sessions) >= CLIENTS:
                self._tell(
                    f"{peer} is refused: {CLIENTS} clients are connected, which is the limit"
                )
                connection.close()
                return
            # Send short data, such as an echo, at once.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(connection)
            connection.setblocking(False)  # noqa: FBT003 - the name of the method says it
            files = FilePair(connection.fileno(), connection.fileno())
            thread = threading.Thread(
                target=self._work,
                args=(connection, files, peer),
                name=f"rfc2217-{peer}",
                daemon=True,
            )
            self._sessions[thread] = files
            thread.start()

    def _work(self, connection: socket.socket, files: FilePair, peer: str) -> None:
        """Serve one client until it disconnects."""
        try:
            # Close the terminal here too: if the client is gone already, the session never runs.
            with contextlib.closing(self._plug_in()) as terminal:
                self._tell(f"{peer} is connected")
                Rfc2217Session(terminal, files).run()
            self._tell(f"{peer} is disconnected")
        except (OSError, VirtmeshError) as error:
            self._tell(f"{peer} is disconnected: {error}")
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            with self._lock:
                del self._sessions[threading.current_thread()]
            connection.close()
            files.close()

    def _end(self) -> None:
        """End all sessions, and wait for their threads."""
        with self._lock:
            sessions = dict(self._sessions)
            for files in sessions.values():
                files.end()
        for thread in sessions:
            thread.join()
