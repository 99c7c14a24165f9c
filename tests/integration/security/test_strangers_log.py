"""What strangers leave in the log of a service: where they came from, and little else."""

from __future__ import annotations

import socket
from time import monotonic

import pytest

from tests.support.secured import SECONDS, Keyboard, People, status_of
from virtmesh.rpc.audit import PERIOD_S, STRANGERS_MAX
from virtmesh_common.security.roles import Role

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

GREETING = b"GET / HTTP/1.1\r\n\r\n"
TIMES = 40
CALLS = 4 * STRANGERS_MAX
RESET = "/virtmesh.device.v1.DeviceService/Reset"


def test_handshakes_that_fail_leave_no_line(keyboard: Keyboard) -> None:
    """Whoever reaches the port can have as many of them as it likes."""
    addresses = keyboard.address.certificates, keyboard.address.tokens
    before = len(lines_of(keyboard))
    for address in addresses:
        host, _, port = address.rpartition(":")
        for _ in range(TIMES):
            with socket.create_connection((host, int(port)), SECONDS) as connection:
                connection.sendall(GREETING)
                try:
                    while connection.recv(1 << 10):
                        pass
                except ConnectionError:
                    pass

    assert len(lines_of(keyboard)) - before < TIMES


def lines_of(keyboard: Keyboard) -> list[str]:
    """Return the lines of a log, of whatever form."""
    return keyboard.log.read_text(encoding="utf-8").splitlines()


def test_a_token_that_was_revoked_is_named(keyboard: Keyboard, people: People) -> None:
    """By the name and number of its list, and where it came from. Other words are nobody's."""
    bearer = (("authorization", f"Bearer {people.token(Role.OWNER, 'leaver')}"),)
    (token,) = people.tokens.revoke("leaver")
    with keyboard.tokens() as channel:
        assert status_of(channel, RESET, bearer)[0] == "UNAUTHENTICATED"
        line = keyboard.line("call", identity="leaver", rpc=RESET)

    assert (line["serial"], line["role"], line["device"]) == (token.id, "none", "keyboard")
    assert line["peer"].startswith("ipv4:127.0.0.1:")


def test_a_stranger_has_so_many_lines(keyboard: Keyboard) -> None:
    """Whatever it calls, by whatever name of a device, with whatever identifier."""
    begun, before = monotonic(), len(keyboard.lines("call"))
    with keyboard.tokens() as channel:
        for number in range(CALLS):
            metadata = (("virtmesh-request-id", f"id-{number}"), ("virtmesh-device", f"d{number}"))
            status_of(channel, f"/made.up.v1.Service/Method{number}", metadata)
            status_of(channel, f"{RESET}{number}", metadata)

    periods = 1 + (monotonic() - begun) // PERIOD_S + 1  # one may have begun before
    assert len(keyboard.lines("call")) - before <= periods * (STRANGERS_MAX + 1)
