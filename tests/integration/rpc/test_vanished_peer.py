"""A peer that vanishes without a word: the link between two hosts is cut under open calls."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import virtmesh_client
from tests.support.cli import eventually
from tests.support.two_hosts import NEAR_ADDRESS, TwoHosts, two_hosts
from virtmesh_common.errors import VirtmeshError

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

PORT = 50051
KEEPALIVE = 1.0
"""Shorter than the default of 15 s, on both sides."""
BOUND = 10.0
"""Twice the keepalive is the promise; the rest is for a busy test host."""
MACHINE = """
name = "near"
[[devices]]
name = "keyboard"
kind = "input"
"""
CLIENT = f"""
import json, sys, time, virtmesh_client
address = "{NEAR_ADDRESS}:{PORT}"
with virtmesh_client.connect(address, keepalive={KEEPALIVE}, insecure=True) as machine:
    keyboard = machine.input("keyboard", retry_for=0)  # by itself it would wait for the machine
    keyboard.press("a", wait="delivered")
    with keyboard.watch() as watch:
        print("pressed", flush=True)
        begin = time.monotonic()
        try:
            for _ in watch:
                pass
        except Exception as error:
            seconds = time.monotonic() - begin
            print(json.dumps([type(error).__name__, str(error), seconds]), flush=True)
"""


@pytest.fixture
def hosts() -> Iterator[TwoHosts]:
    """Make two hosts."""
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def machine(hosts: TwoHosts, tmp_path: Path) -> Iterator[virtmesh_client.Machine]:
    """Start a kernel and its keyboard on the near host; connect over the file system."""
    (tmp_path / "machine.toml").write_text(MACHINE)
    address = f"unix:{tmp_path}/kernel.sock"
    keyboard = ["host.main", "input", "--name", "keyboard", "--listen", "unix:keyboard.sock"]
    kernel = ["kernel.main", "--machine", "machine.toml", "--keepalive", str(KEEPALIVE)]
    kernel += ["--listen", address, "--listen", f"{NEAR_ADDRESS}:{PORT}", "--insecure"]
    with ExitStack() as undo:
        for program, *options in ([*keyboard, "--personality", "keyboard"], kernel):
            line = hosts.command(hosts.near, sys.executable, "-m", f"virtmesh.{program}", *options)
            process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.DEVNULL)
            undo.callback(process.wait)
            undo.callback(process.terminate)
        near = undo.enter_context(virtmesh_client.connect(address))
        eventually(lambda: is_ready(near))
        yield near


def is_ready(machine: virtmesh_client.Machine) -> bool:
    """Say whether the kernel has the keyboard."""
    try:
        return [device.state for device in machine.devices()] == ["ready"]
    except VirtmeshError:
        return False


def test_a_cut_link_ends_calls_and_releases_keys(
    hosts: TwoHosts, machine: virtmesh_client.Machine
) -> None:
    """The client gets an error that says so, the machine releases what the client held: in time."""
    line = hosts.command(hosts.far, sys.executable, "-c", CLIENT)
    keyboard = machine.input("keyboard")
    with (
        keyboard.watch(seconds=60) as watch,
        subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as client,
    ):
        assert client.stdout is not None
        assert client.stdout.readline() == "pressed\n"
        pressed = next(watch)

        hosts.cut()
        begin = time.monotonic()
        released = next(one for one in watch if one.event.code == pressed.event.code)
        machine_seconds = time.monotonic() - begin
        kind, message, client_seconds = json.loads(client.stdout.readline())

    assert (pressed.event.value, released.event.value) == (1, 0)
    assert machine_seconds < BOUND
    assert client_seconds < BOUND
    assert kind == "ServiceUnavailable"
    assert f"{NEAR_ADDRESS}:{PORT}" in message
    assert "pings have no answer" in message
