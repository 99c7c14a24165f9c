"""Telnet and RFC 2217 as bytes: what is data, what is answered, what is ignored."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh_client.serial.com_port import ComPort
from virtmesh_client.serial.models import LineFormat, PortLines
from virtmesh_client.serial.telnet import (
    AYT,
    BINARY,
    BRK,
    COM_PORT,
    DO,
    DONT,
    ECHO,
    IAC,
    SB,
    SE,
    SGA,
    SUBNEGOTIATION_BYTES,
    WILL,
    WONT,
    BreakKey,
    Subnegotiation,
    Telnet,
)

if TYPE_CHECKING:
    from virtmesh_client.serial.telnet import Item


class Client:
    """The other side of a telnet server: what it was sent, what the server understood."""

    def __init__(self, *, binary: bool = False) -> None:
        self.sent = bytearray()
        self.telnet = Telnet(self.sent.extend)
        if binary:
            self.say(IAC, DO, BINARY, IAC, WILL, BINARY)
            self.sent.clear()

    def say(self, *data: int) -> list[Item]:
        """Send bytes."""
        return list(self.telnet.receive(bytes(data)))

    def type(self, data: bytes) -> bytes:
        """Send bytes in the smallest pieces; returns the data among what was understood."""
        items = [item for byte in data for item in self.say(byte)]
        return b"".join(item for item in items if isinstance(item, bytes))


def test_the_server_asks_for_characters_as_they_are_typed() -> None:
    """And for eight bits in both directions."""
    client = Client()
    client.telnet.start()
    assert bytes(client.sent) == bytes(
        [IAC, WILL, ECHO, IAC, WILL, SGA, IAC, WILL, BINARY, IAC, DO, BINARY]
    )


def test_an_agreement_is_not_answered_again() -> None:
    """A loop of answers is what RFC 854 warns of."""
    client = Client()
    client.telnet.start()
    client.sent.clear()
    client.say(IAC, DO, ECHO, IAC, DO, ECHO, IAC, WONT, BINARY)
    assert not client.sent


@pytest.mark.parametrize(
    ("command", "option", "answer"),
    [
        (WILL, COM_PORT, DO),
        (DO, COM_PORT, WILL),
        (WILL, ECHO, DONT),
        (DO, 31, WONT),
        (WILL, 24, DONT),
    ],
)
def test_what_a_client_offers_is_agreed_to_or_refused(
    command: int, option: int, answer: int
) -> None:
    """Known options are agreed to, all others refused."""
    client = Client()
    client.say(IAC, command, option)
    assert bytes(client.sent) == bytes([IAC, answer, option])


def test_an_option_that_is_taken_back_is_given_up() -> None:
    """With the answer that RFC 854 wants."""
    client = Client(binary=True)
    client.say(IAC, DONT, BINARY)
    assert bytes(client.sent) == bytes([IAC, WONT, BINARY])
    assert client.telnet.spell(b"\r") == b"\r"
    assert client.telnet.spell(b"x") == b"\0x"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (b"ls\r\0", b"ls\r"),
        (b"ls\r\n", b"ls\r"),
        (b"a\r\0b\r\nc", b"a\rb\rc"),
        (b"\r\r\0", b"\r\r"),
        (b"caf\xc3\xa9", "café".encode()),
    ],
)
def test_the_enter_key_is_a_carriage_return(typed: bytes, meant: bytes) -> None:
    """However it is cut into pieces."""
    assert Client().type(typed) == meant
    assert b"".join(item for item in Client().say(*typed) if isinstance(item, bytes)) == meant


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_binary_data_passes_in_both_directions(data: bytes, cuts: list[int]) -> None:
    """Every byte, however it is cut."""
    there, back = Client(binary=True), Client(binary=True)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    received = b""
    for first, last in pairwise(places):
        received += back.type(there.telnet.spell(data[first:last]))
    assert received == data


@given(st.binary(max_size=600))
def test_no_input_breaks_the_parser(data: bytes) -> None:
    """Whatever a client sends, the next line is understood."""
    client = Client()
    client.type(data)
    client.say(IAC, SB, IAC, SE)  # ends whatever was begun
    assert client.type(b"x\rhello\r\0").endswith(b"hello\r")


def test_commands_among_data() -> None:
    """A break is handed on, in order; are-you-there is answered."""
    client = Client()
    assert client.say(*b"a", IAC, BRK, *b"b", IAC, IAC) == [b"a", BreakKey(), b"b", b"\xff"]
    client.say(IAC, AYT)
    assert client.sent == b"[yes]\r\n"


def test_a_subnegotiation_has_its_iac_undoubled() -> None:
    """And one that is too long is ignored as a whole."""
    client = Client()
    assert client.say(IAC, SB, COM_PORT, 1, IAC, IAC, 2, IAC, SE) == [
        Subnegotiation(COM_PORT, b"\x01\xff\x02")
    ]
    long = [COM_PORT] * (SUBNEGOTIATION_BYTES + 1)
    assert client.say(IAC, SB, *long, IAC, SE, *b"x") == [b"x"]


class Port:
    """What a client did to the machine's line."""

    def __init__(self) -> None:
        self.did: list[object] = []
        self.answers: list[tuple[int, bytes]] = []
        self.com_port = ComPort(self, lambda code, value: self.answers.append((code, value)))

    def set_lines(self, *, cts: bool | None = None, dsr: bool | None = None) -> None:
        """Note it."""
        self.did.append(("cts", cts) if dsr is None else ("dsr", dsr))

    def send_break(self) -> None:
        """Note it."""
        self.did.append("break")

    def purge(self) -> None:
        """Note it."""
        self.did.append("purge")

    def suspend(self, *, suspended: bool) -> None:
        """Note it."""
        self.did.append(("suspend", suspended))

    def ask(self, *payload: int) -> bytes:
        """Ask for something; returns the answer's value."""
        self.answers.clear()
        self.com_port.handle_command(bytes(payload))
        assert [code for code, _ in self.answers] in ([], [payload[0] + 100])
        return self.answers[0][1] if self.answers else b""


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ((1, 0, 0, 0, 0), (115200).to_bytes(4, "big")),
        ((1, 0, 0, 0x25, 0x80), (9600).to_bytes(4, "big")),
        ((2, 0), b"\x08"),
        ((2, 7), b"\x07"),
        ((2, 99), b"\x08"),
        ((3, 3), b"\x03"),
        ((3, 0), b"\x01"),
        ((4, 3), b"\x03"),
        ((5, 0), b"\x01"),
        ((5, 3), b"\x03"),
        ((5, 4), b"\x06"),
        ((5, 7), b"\x08"),
        ((5, 10), b"\x0b"),
        ((5, 13), b"\x0e"),
        ((10, 16), b"\x10"),
        ((11, 0x10), b"\x10"),
        ((12, 2), b"\x02"),
    ],
)
def test_a_setting_is_answered_by_what_it_is_now(payload: tuple[int, ...], answer: bytes) -> None:
    """What makes no sense leaves it as it was (RFC 2217, section 3)."""
    port = Port()
    port.com_port.start_with(LineFormat(115200, 8, "N", 1))
    assert port.ask(*payload) == answer


def test_lines_cross_as_in_a_null_modem() -> None:
    """DTR reaches DSR, RTS reaches CTS; a break is sent once."""
    port = Port()
    for value in (9, 8, 12, 11, 5, 6):
        port.ask(5, value)
    assert port.did == [("dsr", False), ("dsr", True), ("cts", False), ("cts", True), "break"]


def test_what_a_client_wants_to_know_of_the_lines_it_is_told() -> None:
    """Changes with their deltas; nothing that its mask leaves out; breaks when asked for."""
    port = Port()
    port.com_port.send_line_changes(PortLines(True, True, False, False, False))  # noqa: FBT003 - the lines
    assert port.answers == [(107, b"\xbb")]
    port.ask(11, 0x10)
    port.answers.clear()
    port.com_port.send_line_changes(PortLines(False, True, False, False, False))  # noqa: FBT003
    assert port.answers == []
    port.ask(10, 0x10)
    port.answers.clear()
    port.com_port.send_line_changes(PortLines(False, True, False, False, True))  # noqa: FBT003
    assert port.answers == [(106, b"\x10")]


def test_flow_and_purging() -> None:
    """Are done to the output of this client."""
    port = Port()
    for payload in ((8,), (9,), (12, 1), (12, 3), (12, 2)):
        port.ask(*payload)
    assert port.did == [("suspend", True), ("suspend", False), "purge", "purge"]


@given(st.binary(max_size=20))
def test_no_command_breaks_the_port(payload: bytes) -> None:
    """Whatever its code and length, the next one is answered."""
    port = Port()
    port.com_port.handle_command(payload)
    assert len(port.ask(2, 5)) == 1
    assert port.ask(0).startswith(b"virtmesh ")
