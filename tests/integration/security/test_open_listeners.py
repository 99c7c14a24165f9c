"""TCP listeners without TLS: refused where others reach them, and never silent when opened."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually
from tests.support.secured import SECONDS
from tests.support.two_hosts import NEAR_ADDRESS, two_hosts

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

DEVICE = ("virtmesh.host.main", "uart", "--name", "serial")
CALL = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    method = channel.unary_unary("/virtmesh.device.v1.DeviceService/GetStatus")
    try:
        method(b"", timeout=20, metadata=[("authorization", "Bearer x")] if sys.argv[2:] else ())
        print("OK")
    except grpc.RpcError as error:
        print(error.code().name, error.details())
"""


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.org"])  # noqa: S104
def test_a_listener_that_others_reach_does_not_start(host: str) -> None:
    """The message says what to do; a name that could be anything counts as reachable."""
    command = [sys.executable, "-m", *DEVICE, "--listen", f"{host}:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)

    assert done.returncode == 1
    assert f"virtmesh-device: {host}:0: others reach it" in done.stderr
    assert "`virtmesh certs init DIR`" in done.stderr
    assert "--insecure" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_needs_nothing(host: str, tmp_path: Path) -> None:
    """As it always was."""
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), 0))
    except OSError as error:
        pytest.skip(f"this host has no {host}: {error}")
    command = [sys.executable, "-m", *DEVICE, "--listen", f"{host}:0", "--log", "json"]
    path = tmp_path / "log"
    with path.open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            eventually(lambda: "serving" in path.read_text())
            (line,) = [one for one in path.read_text().splitlines() if '"serving"' in one]
            (address,) = json.loads(line)["addresses"]
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=SECONDS)
                call: Any = channel.unary_unary("/virtmesh.device.v1.DeviceService/GetStatus")
                call(b"", timeout=SECONDS)
        finally:
            process.terminate()


def test_a_listener_that_is_opened_stays_in_sight(cli: Cli) -> None:
    """In the log, in metrics, in `virtmesh status` and in `virtmesh devices`."""
    (cli.folder / "open.toml").write_text(
        'name = "open"\n[security]\ninsecure = true\n[kernel]\nmetrics = "127.0.0.1:0"\n'
        'listen = ["unix:kernel.sock", "0.0.0.0:0"]\n[[devices]]\nname = "serial"\nkind = "uart"\n'
    )
    cli.up(cli.folder / "open.toml")
    text = "is open to anyone who reaches it: it has neither TLS nor names (--insecure)"

    assert text in cli("status").stdout
    assert text in cli("devices").stderr
    assert text in (cli.run_dir / "kernel.log").read_text()
    with virtmesh_client.connect(cli.state.address) as machine:
        (warning,) = machine.warnings()
    assert warning.endswith(text)


def test_a_token_in_clear_is_refused() -> None:
    """Whoever listens on the network has it: the caller learns that it has to go."""
    with two_hosts() as hosts, ExitStack() as undo:
        address = f"{NEAR_ADDRESS}:50051"
        command = [sys.executable, "-m", *DEVICE, "--listen", address, "--insecure"]
        process = subprocess.Popen(hosts.command(hosts.near, *command), stderr=subprocess.DEVNULL)
        undo.callback(process.wait)
        undo.callback(process.terminate)

        def call(*arguments: str) -> str:
            line = hosts.command(hosts.far, sys.executable, "-c", CALL, address, *arguments)
            done = subprocess.run(
                line, capture_output=True, text=True, timeout=SECONDS * 2, check=True
            )
            return done.stdout

        eventually(lambda: call() == "OK\n")
        assert call("token").startswith("UNAUTHENTICATED a token came over a connection without")
