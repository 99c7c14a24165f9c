"""`virtmesh up` and `down` with real processes: started, broken, restarted, stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import SECONDS, Cli, eventually
from virtmesh.local.log_bound import LIMIT_BYTES
from virtmesh_client.local import rundir

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    import virtmesh_client

pytestmark = pytest.mark.processes


def read_until(process: subprocess.Popen[bytes], word: bytes) -> None:
    """Read standard error until a line has the word."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    pytest.fail(f"it ended without {word!r}")


def alive(state: rundir.MachineState) -> list[str]:
    """Name the processes of a machine that run."""
    return [process.name for process in state.alive]


def test_a_machine_goes_up_and_down(cli: Cli) -> None:
    """With a report that programs can read, and nothing left behind but logs and the image."""
    up = cli("up", "-d", "--disk", "disk.img,size=4M", "--json")
    assert up.returncode == 0, up.stderr
    state = json.loads(up.stdout)
    assert [one["name"] for one in state["processes"]] == ["vda", "serial", "kernel"]
    assert alive(cli.state) == ["supervisor", "vda", "serial", "kernel"]
    before = cli.state

    devices = cli("devices", "--json")
    assert [one["state"] for one in json.loads(devices.stdout)] == ["ready", "ready"]

    down = cli("down")
    assert (down.returncode, down.stdout) == (0, "virtmesh is stopped\n")
    assert alive(before) == []
    assert not [path for path in cli.run_dir.iterdir() if path.is_socket()]
    assert not (cli.run_dir / rundir.STATE).exists()
    assert (cli.folder / "disk.img").stat().st_size == 4 << 20


def test_a_machine_file_is_started(cli: Cli) -> None:
    """Images are relative to the file, sockets to the run folder."""
    (cli.folder / "machine.toml").write_text(
        'name = "demo"\n[[devices]]\nname = "vda"\nkind = "blk"\n'
        '[devices.options]\nimage = "a.img"\nsize = "1M"\n'
        '[[devices]]\nname = "vdb"\nkind = "blk"\n'
        '[devices.options]\nimage = "b.img"\nsize = "2M"\n'
    )
    cli.up()
    info = cli("blk", "info", "vdb", "--json")
    assert json.loads(info.stdout)["capacity_bytes"] == 2 << 20
    status = cli("status", "--json")
    assert [one["name"] for one in json.loads(status.stdout)] == ["demo"]


def test_a_second_up_says_that_the_machine_runs(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """And does not touch it, nor the machine file that its kernel is restarted from."""
    before = (cli.run_dir / "machine.toml").read_text()
    second = cli("up", "-d", "--disk", "other.img,size=4M")
    assert second.returncode == 1
    assert "runs in" in second.stderr.splitlines()[-1]
    assert "virtmesh down" in second.stderr.splitlines()[-1]
    assert machine.devices()[0].state == "ready"
    assert (cli.run_dir / "machine.toml").read_text() == before


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        pytest.param(Path.absolute, "no such image", id="missing"),
        pytest.param(lambda image: image.write_bytes(b"x" * 1000), "multiple of 512", id="odd"),
        pytest.param(Path.mkdir, "disk.img", id="folder"),
    ],
)
def test_a_disk_that_does_not_start_says_why_in_one_line(
    cli: Cli, prepare: Callable[[Path], object], words: str
) -> None:
    """The device's own last line; everything else is stopped."""
    prepare(cli.folder / "disk.img")
    result = cli("up", "-d", "--disk", "disk.img")
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("virtmesh: ")
    assert words in last
    assert "Traceback" not in result.stderr
    assert rundir.load(cli.run_dir) is None


def test_an_image_in_use_is_refused(cli: Cli, machine: virtmesh_client.Machine) -> None:
    """By a second machine, whose start fails with the reason."""
    assert machine.devices()
    other = Cli(cli.folder, {"VIRTMESH_RUN_DIR": str(cli.folder / "two")})
    result = other("up", "-d", "--disk", "disk.img")
    assert result.returncode == 1
    assert "in use by" in result.stderr.splitlines()[-1]


def test_ctrl_c_stops_a_machine_in_the_foreground(cli: Cli) -> None:
    """Every process ends, and the sockets are gone."""
    with cli.spawn("up", "--disk", "disk.img,size=4M") as process:
        read_until(process, b"is ready")
        state = cli.state
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert b"virtmesh is stopped" in err
    assert alive(state) == []
    assert not [path for path in cli.run_dir.iterdir() if path.is_socket()]


def test_ctrl_c_during_the_start_stops_what_was_started(cli: Cli) -> None:
    """With the exit status of an interruption and no traceback."""
    with cli.spawn("up", "--disk", "disk.img,size=4M") as process:
        read_until(process, b"starting")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.splitlines()[-1] == b"virtmesh: interrupted"
    assert not (cli.run_dir / rundir.STATE).exists()


def test_ctrl_c_while_a_detached_start_waits_stops_it(cli: Cli) -> None:
    """Nothing goes on in the background."""
    with cli.spawn("up", "-d", "--disk", "disk.img,size=4M") as process:
        read_until(process, b"starting")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.splitlines()[-1] == b"virtmesh: interrupted"
    assert not (cli.run_dir / rundir.STATE).exists()


@pytest.mark.parametrize("victim", ["vda", "kernel"])
def test_a_process_that_is_killed_is_restarted(
    cli: Cli, machine: virtmesh_client.Machine, victim: str
) -> None:
    """What was written before is still there."""
    machine.disk("vda").write(0, b"survivor")
    machine.disk("vda").flush()
    before = cli.process(victim)

    os.kill(before.pid, signal.SIGKILL)

    eventually(lambda: cli.process(victim).restarts == 1)
    assert cli.process(victim).pid != before.pid
    eventually(lambda: "ready" in cli("devices").stdout)
    assert machine.disk("vda").read(0, 8) == b"survivor"


def test_the_log_of_a_process_does_not_grow_without_end(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """It is emptied while the machine runs, and the process goes on writing to it."""
    log = cli.run_dir / "vda.log"
    with log.open("ab") as file:
        file.write(b"x" * LIMIT_BYTES)
    eventually(lambda: log.stat().st_size < LIMIT_BYTES)
    assert (cli.run_dir / "vda.log.1").stat().st_size == LIMIT_BYTES
    machine.disk("vda").set_read_only()
    eventually(lambda: b"SetReadOnly" in log.read_bytes())


def test_down_stops_what_a_killed_supervisor_left(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """A new start says so first; then it works."""
    assert machine.devices()
    state = cli.state
    os.kill(state.supervisor.pid, signal.SIGKILL)
    eventually(lambda: not state.supervisor.alive)

    refused = cli("up", "-d", "--disk", "disk.img")
    assert refused.returncode == 1
    assert "their supervisor was killed" in refused.stderr
    assert "nobody starts anew what ends" in cli("status").stdout

    assert cli("down").returncode == 0
    assert alive(state) == []
    cli.up("--disk", "disk.img")


def test_down_with_nothing_running_is_no_error(cli: Cli) -> None:
    """It is what was wanted."""
    result = cli("down")
    assert (result.returncode, result.stdout) == (0, "nothing to stop\n")


def test_a_run_folder_too_deep_for_sockets_is_refused(cli: Cli) -> None:
    """Before anything is started, with the mend."""
    deep = cli.folder / ("x" * 90)
    result = cli("up", "-d", "--disk", "disk.img,size=1M", "--run-dir", deep)
    assert result.returncode == 1
    assert "choose a shorter folder" in result.stderr
    shutil.rmtree(deep, ignore_errors=True)
