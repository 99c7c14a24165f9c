"""`virtmesh restart`, and processes that die again and again, with a real machine."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually
from virtmesh_client.local.control import restart_process
from virtmesh_common.errors import DeviceNotFound, NotSupervised, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.processes


@pytest.fixture
def machine(cli: Cli) -> Iterator[virtmesh_client.Machine]:
    """Start a machine whose image would be made if it were missing."""
    cli.up("--disk", "disk.img,size=16M", "--device", "input,name=keys,personality=keyboard")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


def kill(cli: Cli, name: str) -> None:
    """Kill a process, if it runs just now."""
    found = cli.process(name)
    if found.alive:
        os.kill(found.pid, signal.SIGKILL)


def by_command(cli: Cli, _machine: virtmesh_client.Machine) -> Callable[[str], object]:
    """Restart by the command."""

    def restart(name: str) -> str:
        done = cli("restart", name, "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["state"])

    return restart


def by_library(_cli: Cli, machine: virtmesh_client.Machine) -> Callable[[str], object]:
    """Restart by the RPC."""
    return machine.restart


@pytest.mark.parametrize("way", [by_command, by_library])
def test_a_device_is_restarted_and_is_used_again_when_it_ends(
    cli: Cli,
    machine: virtmesh_client.Machine,
    way: Callable[[Cli, virtmesh_client.Machine], Callable[[str], object]],
) -> None:
    """By SIGTERM, and nobody says that it died. A second one waits for the first."""
    machine.disk("vda").write(0, b"kept")
    before = cli.process("vda")
    restart = way(cli, machine)

    assert restart("vda") == "ready"

    after = cli.process("vda")
    assert (after.restarts, after.pid == before.pid, before.alive) == (1, False, False)
    assert machine.disk("vda").read(0, 4) == b"kept"
    assert "died" not in (cli.run_dir / "supervisor.log").read_text()

    assert restart("vda") == "ready"
    assert cli.process("vda").restarts == 2


def test_the_kernel_service_is_restarted(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """Also while it is stopped: then it is killed. The command waits until it answers."""
    machine.disk("vda").write(0, b"kept")
    machine.disk("vda").flush()
    os.kill(cli.process("kernel").pid, signal.SIGSTOP)

    done = cli("restart", "kernel")

    assert (done.returncode, done.stdout) == (0, "kernel is restarted\n")
    assert cli.process("kernel").restarts == 1
    eventually(lambda: {one.state for one in machine.devices()} == {"ready"})
    assert machine.disk("vda").read(0, 4) == b"kept"


def test_a_device_that_dies_again_and_again_is_held_until_somebody_brings_it_back(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """A restart never makes an image in the place of one that is missing: that would be empty."""
    image, away = cli.folder / "disk.img", cli.folder / "away.img"
    machine.disk("vda").write(0, b"kept")
    machine.disk("vda").flush()
    image.rename(away)
    kill(cli, "vda")
    eventually(lambda: cli.process("vda").held)

    assert not image.exists()
    why = cli.process("vda").held
    assert why.startswith("it ended 6 times within 5 seconds of its start, at last: vda ended")
    assert "disk.img" in why
    status = cli("status")
    assert f"vda is held: {why}\n" in status.stdout
    assert "bring it back with `virtmesh restart vda`" in status.stdout
    (found,) = json.loads(cli("status", "--json").stdout)
    assert [one["held"] for one in found["processes"] if one["name"] == "vda"] == [why]
    assert "vda is held" in (cli.run_dir / "supervisor.log").read_text()
    refused = cli("restart", "vda")
    assert refused.returncode == 1
    assert "virtmesh: vda was started anew, and is held: it ended 6 times" in refused.stderr

    away.rename(image)
    assert machine.restart("vda") == "ready"
    assert cli.process("vda").held == ""
    assert machine.disk("vda").read(0, 4) == b"kept"


async def test_both_faces_restart(cli: Cli) -> None:
    """The awaited one as well; a device that is not there is named."""
    cli.up("--no-serial", "--disk", "disk.img,size=16M")
    async with await virtmesh_client.aconnect(cli.state.address) as machine:
        assert await machine.restart("vda") == "ready"
        with pytest.raises(DeviceNotFound, match="'vdb'"):
            await machine.restart("vdb")


def test_a_device_that_a_guest_drives_is_restarted(cli: Cli) -> None:
    """It is the guest's, and the kernel does not wait for one."""
    cli.up("--vhost-user", "--disk", "disk.img,size=16M")
    with virtmesh_client.connect(cli.state.address) as machine:
        assert machine.restart("vda") == "reserved"
    assert cli("restart", "vda").returncode == 0
    assert cli.process("vda").restarts == 2


def test_errors_name_what_there_is(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """A name that nothing has; a supervisor that was killed; no machine at all."""
    assert machine.devices()
    unknown = cli("restart", "vdb")
    assert unknown.returncode == 1
    assert "no process 'vdb': it has vda, serial, keys, kernel" in unknown.stderr

    os.kill(cli.state.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not cli.state.supervisor.alive)
    orphan = cli("restart", "vda")
    assert orphan.returncode == 1
    assert "nobody here can restart it" in orphan.stderr
    assert "virtmesh up" in orphan.stderr
    with pytest.raises(NotSupervised, match="restart the service with what started it"):
        machine.restart("vda")

    cli("down")
    nothing = cli("restart", "vda")
    assert nothing.returncode == 3
    assert "no machine runs on this host" in nothing.stderr


def test_a_device_may_not_ask(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """The socket is its owner's alone, and a process of the machine's devices is no owner."""
    assert machine.devices()
    control = cli.run_dir / "control.sock"
    assert control.stat().st_mode & 0o777 == 0o600
    with pytest.raises(VirtmeshError, match="no process 'x'"):
        restart_process(cli.run_dir, "x")
