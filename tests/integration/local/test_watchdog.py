"""The supervisor sees which process does not answer, and starts it anew where that is wanted."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes


@pytest.fixture
def stopped(cli: Cli) -> Iterator[list[str]]:
    """Let processes go on that a test has stopped: a machine is only stopped with them."""
    names: list[str] = []
    yield names
    for name in names:
        if cli.process(name).alive:
            os.kill(cli.process(name).pid, signal.SIGCONT)


@pytest.mark.parametrize("name", ["vda", "kernel"])
def test_a_stopped_process_is_reported_and_stays_until_it_goes_on(
    cli: Cli, name: str, stopped: list[str]
) -> None:
    """The kernel service as well: nobody needs it for that."""
    cli.up("--no-serial", "--disk", "disk.img,size=16M")
    pid = cli.process(name).pid

    os.kill(pid, signal.SIGSTOP)
    stopped.append(name)
    eventually(lambda: cli.process(name).silent)

    why = cli.process(name).silent
    assert why.startswith("since 20")
    assert why.endswith("a signal has stopped its process; SIGCONT lets it go on")
    status = cli("status").stdout
    assert f"{name} has not answered {why}\n" in status
    assert f"`virtmesh restart {name}` ends it, and starts it anew" in status
    (found,) = json.loads(cli("status", "--json").stdout)
    assert [one["silent"] for one in found["processes"] if one["silent"]] == [why]

    os.kill(pid, signal.SIGCONT)
    eventually(lambda: not cli.process(name).silent)
    assert (cli.process(name).pid, cli.process(name).restarts) == (pid, 0)
    log = (cli.run_dir / "supervisor.log").read_text()
    assert f"{name} has not answered {why}" in log
    assert f"{name} answers again" in log


def test_a_stopped_process_is_started_anew_where_that_is_its_policy(cli: Cli) -> None:
    """A disk, by an option of `virtmesh up`. What it has completed is kept."""
    cli.up("--no-serial", "--disk", "disk.img,size=16M,watchdog=restart")
    with virtmesh_client.connect(cli.state.address) as machine:
        machine.disk("vda").write(0, b"kept")
        before = cli.process("vda").pid

        os.kill(before, signal.SIGSTOP)

        eventually(lambda: cli.process("vda").restarts)
        assert machine.disk("vda").read(0, 4) == b"kept"
    assert cli.process("vda").pid != before
    assert cli.process("vda").silent == ""
    log = (cli.run_dir / "supervisor.log").read_text()
    assert "vda is killed, to be started anew: it has not answered since" in log


def test_a_stopped_kernel_service_is_started_anew_where_that_is_its_policy(cli: Cli) -> None:
    """By the machine file."""
    file = cli.folder / "machine.toml"
    file.write_text(
        '[kernel]\nwatchdog = "restart"\n'
        '[[devices]]\nname = "keys"\nkind = "input"\n[devices.options]\npersonality = "keyboard"\n'
    )
    cli.up(file)
    os.kill(cli.process("kernel").pid, signal.SIGSTOP)
    eventually(lambda: cli.process("kernel").restarts)
    assert cli.process("keys").restarts == 0
