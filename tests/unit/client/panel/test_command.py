"""`virtmesh panel`: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys

import pytest

from virtmesh_client.testing import FakeKernel

SECONDS = 30
COMMAND = (sys.executable, "-P", "-m", "virtmesh_client", "panel")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_ends_with_a_signal(number: signal.Signals) -> None:
    """The token in the address opens it; Ctrl-C is no error."""
    with (
        FakeKernel(vda=1 << 20) as kernel,
        subprocess.Popen(
            [*COMMAND, "--address", kernel.address, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        url, _, token = process.stdout.readline().split()[-1].partition("#token=")
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=SECONDS)
        connection.request("GET", "/api/about", headers={"Authorization": f"Bearer {token}"})
        assert json.load(connection.getresponse())["address"] == kernel.address
        connection.close()

        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a\x1f\x00text of a stranger\r\n\r\n",
        b"text of a stranger\r\n\r\n",
        b"GET /text-of-a-stranger" + bytes(20_000) + b" HTTP/1.1\r\n\r\n",
        b"POST /api/about HTTP/1.1\r\nHost: localhost\r\nContent-Length: zz\r\n\r\n",
    ],
)
def test_what_is_no_request_leaves_no_line(garbage: bytes) -> None:
    """Anybody who reaches the port could fill a disk with them, token or not."""
    with (
        FakeKernel(vda=1 << 20) as kernel,
        subprocess.Popen(
            [*COMMAND, "--address", kernel.address, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().partition("/#")[0].rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
            connection.sendall(garbage)
            assert b" 400 " in connection.recv(1 << 16).partition(b"\r\n")[0]

        process.terminate()
        assert process.wait(SECONDS) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--listen", "0.0.0.0:8080"), "can be reached from other hosts"),
        (("--listen", "8080"), "write HOST:PORT"),
        (("--token", "short"), "16 to 128"),
        (("--limit", "socket=3"), "try sockets"),
    ],
)
def test_what_it_refuses(arguments: tuple[str, ...], words: str) -> None:
    """One line says what is wrong."""
    command = [*COMMAND, "--address", "unix:/nowhere", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_that_is_taken() -> None:
    """The error names it."""
    with FakeKernel() as kernel:
        command = [*COMMAND, "--address", kernel.address, "--listen", "127.0.0.1:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = process.stdout.readline().partition("/#")[0].rpartition(":")[2]
            second = subprocess.run(
                [*command[:-1], f"127.0.0.1:{port}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
            process.kill()

    assert second.returncode == 1
    words = f"virtmesh: 127.0.0.1:{port} is in use; choose another with --listen\n"
    assert second.stderr == words
