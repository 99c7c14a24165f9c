"""A device whose process is stopped: listings say so, in bounded time, and what calls say."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually
from virtmesh_common.errors import NoAnswer

pytestmark = pytest.mark.processes

BOUND = 5.0
"""A listing asks for one second; the rest is for a busy test host."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def pair(cli: Cli) -> Iterator[tuple[Cli, virtmesh_client.Machine]]:
    """Start a machine of two disks, and connect."""
    cli.up("--no-serial", "--disk", "a.img,size=1M", "--disk", "b.img,size=1M")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield cli, machine


def states(machine: virtmesh_client.Machine) -> dict[str, str]:
    """Return the states of the devices."""
    return {device.name: device.state for device in machine.devices()}


def test_a_stopped_device_is_silent_until_it_goes_on(
    pair: tuple[Cli, virtmesh_client.Machine],
) -> None:
    """It is not "ready" while nobody is there; its neighbour is, and so is it afterwards."""
    cli, machine = pair
    with stopped(cli.process("vda").pid):
        begin = time.monotonic()
        during = states(machine)
        seconds = time.monotonic() - begin
        detail = machine.devices()[0].detail
        shown = cli("devices").stdout

    assert during == {"vda": "silent", "vdb": "ready"}
    assert seconds < BOUND
    assert "does not answer within 1 s" in detail
    assert "silent" in shown
    assert "since 20" in detail
    eventually(lambda: states(machine) == {"vda": "ready", "vdb": "ready"})


def test_metrics_know_of_a_stopped_device_though_nobody_asks(
    pair: tuple[Cli, virtmesh_client.Machine],
) -> None:
    """The kernel service looks by itself. What is silent is not ready."""
    cli, _ = pair

    def is_shown(state: str, value: int) -> bool:
        line = f'virtmesh_kernel_device_state{{device="vda",machine="virtmesh",state="{state}"}}'
        return f"{line} {value}.0" in cli("metrics").stdout

    with stopped(cli.process("vda").pid):
        eventually(lambda: is_shown("silent", 1) and is_shown("ready", 0))
    eventually(lambda: is_shown("silent", 0) and is_shown("ready", 1))


def test_a_call_to_a_stopped_device_names_its_time_limit(
    pair: tuple[Cli, virtmesh_client.Machine],
) -> None:
    """The user reads what happened, at which address, and how long it was waited for."""
    cli, _ = pair
    with (
        stopped(cli.process("vda").pid),
        virtmesh_client.connect(cli.state.address, timeout=1) as machine,
        pytest.raises(NoAnswer) as caught,
    ):
        machine.disk("vda").flush()

    assert cli.state.address in caught.value.message
    assert "the time limit is 1 s" in caught.value.message
