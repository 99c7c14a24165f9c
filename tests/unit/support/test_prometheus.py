"""What tests ask Prometheus with."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.prometheus import Prometheus, PrometheusError


class Starting(BaseHTTPRequestHandler):
    """Answers as a Prometheus does that reads its data: not in JSON."""

    def do_GET(self) -> None:
        """Refuse."""
        self.send_error(503, "Service Unavailable")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_one_that_is_not_ready_is_an_error_like_any_other() -> None:
    """Whoever waits for it to start goes on waiting."""
    with HTTPServer(("127.0.0.1", 0), Starting) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()

        with pytest.raises(PrometheusError, match="Service Unavailable"):
            Prometheus(f"127.0.0.1:{server.server_port}").query("vector(1)")

        thread.join()
