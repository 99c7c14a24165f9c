"""Bytes of a client of a serial port on the network (RFC 854, RFC 2217)."""

from __future__ import annotations

from tests.fuzz.target import stateless
from virtmesh_client.serial.com_port import ComPort
from virtmesh_client.serial.models import PortLines
from virtmesh_client.serial.telnet import COM_PORT, Subnegotiation, Telnet

ANSWER_FACTOR = 64
"""Most bytes that are sent for each one that came."""


class Port:
    """What the commands of a client are carried out on."""

    def set_lines(self, *, cts: bool | None = None, dsr: bool | None = None) -> None:
        """Set lines."""

    def send_break(self) -> None:
        """Send a break."""

    def purge(self) -> None:
        """Drop output."""

    def suspend(self, *, suspended: bool) -> None:
        """Suspend output."""


def run(data: bytes) -> None:
    """Receive, cut where the first byte says, and answer what is asked."""
    sent = bytearray()
    telnet = Telnet(sent.extend)
    telnet.start()
    port = ComPort(Port(), lambda code, payload: telnet.ask(COM_PORT, bytes([code]) + payload))
    cut = 1 + (data[0] if data else 0)
    for start in range(1, len(data), cut):
        for item in telnet.receive(data[start : start + cut]):
            if isinstance(item, Subnegotiation):
                if item.option == COM_PORT:
                    port.handle_command(item.payload)
            elif isinstance(item, bytes):
                telnet.spell(item)
    port.send_line_changes(PortLines(*(True,) * 5))
    assert len(sent) <= ANSWER_FACTOR * (len(data) + 16)


def seeds() -> list[bytes]:
    """Return negotiations and commands."""
    commands = b"".join(
        b"\xff\xfa\x2c" + bytes([code]) + payload + b"\xff\xf0"
        for code, payload in [
            (1, b"\0\0\x96\0"),
            (2, b"\x08"),
            (5, b"\x05"),
            (12, b"\x03"),
            (0, b"x"),
        ]
    )
    agreed = b"\xff\xfb\x2c\xff\xfd\x2c\xff\xfd\x00\xff\xfb\x00"
    return [b"\xff" + agreed + commands + b"hello\r\0\r\n", b"\x01" + agreed + commands]


TARGET = stateless(run, seeds)
