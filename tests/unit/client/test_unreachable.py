"""What a user reads when nothing answers, or something else does: cause, address, no jargon."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import virtmesh_client
from tests.support.ports import free_port
from virtmesh_common.errors import ServiceUnavailable
from virtmesh_common.transport import find_cause

JARGON = ("failed to connect to all addresses", "last error", "UNKNOWN", "UNAVAILABLE", "ipv4:")
TEXTS = {
    "keepalive watchdog timeout": "the connection is dead: pings have no answer",
    "ping timeout": "the connection is dead: pings have no answer",
    "Too many pings": "connect with a larger keepalive, or 0",
    "recvmsg:Connection reset by peer": "the connection was reset",
    "Socket closed": "the connection closed",
    "Stream removed": "the connection closed",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:192.0.2.1:1: Failed to connect"
    " to remote host: No route to host": "No route to host",
    "connection attempt timed out before receiving SETTINGS frame": "the connection timed out",
    "HTTP proxy returned response code 407": "the proxy answered 407",
    "something new; last error: of a later version": "of a later version",
}
"""Texts of gRPC 1.80 to 1.85, and what becomes of them."""


def message_at(address: str) -> str:
    """Return the message of a call to an address where no service answers."""
    with (
        virtmesh_client.connect(address, timeout=20, insecure=True) as machine,
        pytest.raises(ServiceUnavailable) as caught,
    ):
        machine.devices()
    message = caught.value.message
    assert message.startswith(f"no service answers at {address}: ")
    assert not [word for word in JARGON if word in message]
    return message


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def web_server() -> Iterator[str]:
    """Serve a page where somebody expects gRPC."""
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_port_where_nobody_listens() -> None:
    """The system's own words are plain enough."""
    assert message_at(f"127.0.0.1:{free_port()}").endswith(": Connection refused")


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """It names the path, and that it is not there."""
    assert message_at(f"unix:{tmp_path}/s").endswith(": No such file or directory")


def test_a_name_that_nobody_knows() -> None:
    """A misspelt host."""
    assert "its name is not known" in message_at("no-such-host.invalid:50051")


def test_a_server_that_is_no_service(web_server: str) -> None:
    """A web server's port instead of the kernel's."""
    assert "does not speak gRPC" in message_at(web_server)


@pytest.mark.parametrize(("text", "cause"), TEXTS.items())
def test_what_grpc_says_becomes_plain(text: str, cause: str) -> None:
    """Texts that take a network to provoke."""
    assert cause in find_cause(text)
