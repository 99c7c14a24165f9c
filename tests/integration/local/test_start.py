"""What `virtmesh up` refuses before it starts anything, and the logs of a run."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.cli import SECONDS, Cli
from virtmesh.local import run_folder
from virtmesh_client.local import rundir

pytestmark = pytest.mark.processes

REFUSED = [
    (("--disk", "a.img,sizzle=4"), "vda: No such option '--sizzle'"),
    (("--disk", "a.img,size=4x"), "vda: Invalid value for '--size': '4x' is no size"),
    (("--disk", "missing.img"), "missing.img: no such image"),
    (("--disk", "no/a.img,size=1M"), "no such folder"),
    (("--disk", "a.img,size=1000"), "choose a multiple of 512"),
    (("--disk", "disk.img,queue-size=100"), "100 is no power of two"),
    (("--disk", "disk.img", "--disk", "./disk.img"), "vda and vdb have the same image"),
    (("--disk", "disk.img", "--input", "fish"), "fish: Invalid value for --personality"),
    (("--disk", "disk.img", "--serial", "clock=x"), "clock"),
    (("--device", "net"), "no kind of device is named 'net': there are blk, gpu, input, uart"),
    (("--device", "blk,name=x,image=disk.img", "--device", "blk,name=x,image=two.img"), "name x"),
]


@pytest.mark.parametrize("detach", [("-d",), ()], ids=["detached", "foreground"])
@pytest.mark.parametrize(("arguments", "words"), REFUSED, ids=lambda one: " ".join(one)[:40])
def test_options_are_checked_before_anything_starts(
    cli: Cli, arguments: tuple[str, ...], words: str, detach: tuple[str, ...]
) -> None:
    """In one line, which names the device and the mend; no process was begun, no image made."""
    (cli.folder / "disk.img").write_bytes(bytes(1 << 20))
    result = cli("up", *arguments, *detach)
    (line,) = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (1, "")
    assert words in line
    assert not (cli.folder / "a.img").exists()
    assert not list(cli.run_dir.glob("*.log"))


def test_two_disks_may_read_one_image(cli: Cli) -> None:
    """When neither writes."""
    (cli.folder / "disk.img").write_bytes(bytes(1 << 20))
    cli.up("--disk", "disk.img,ro", "--disk", "./disk.img,ro", "--no-serial")
    assert cli("blk", "info", "vdb").returncode == 0


def test_ports_are_checked_before_anything_starts(cli: Cli) -> None:
    """With the key that has the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file = cli.folder / "machine.toml"
        file.write_text(f'[kernel]\nlisten = ["unix:kernel.sock", "{address}"]\n')
        refused = cli("up", "-d")
        file.write_text(
            f'[kernel]\nmetrics = "{address}"\n[[devices]]\nname = "keyboard"\nkind = "input"\n'
            f'metrics = "{address}"\noptions.personality = "keyboard"\n'
        )
    twice = cli("up", "-d")
    assert refused.stderr == (
        f"virtmesh: kernel.listen: another process listens at {address}: stop it, or choose another"
        " port\n"
    )
    assert twice.stderr == (
        f"virtmesh: kernel.metrics and keyboard.metrics are both {address}: choose another port\n"
    )


def test_what_still_runs_is_told_before_its_ports(cli: Cli) -> None:
    """It has them: the message about a port would send people after another process."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as left,
    ):
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (cli.folder / "machine.toml").write_text(f'[kernel]\nlisten = "{address}"\n')
        run_folder.prepare(cli.run_dir)
        ticks = rundir.start_ticks(left.pid) or 0
        gone = rundir.ProcessState("supervisor", "supervisor", left.pid, ticks - 1)
        vda = rundir.ProcessState("vda", "blk", left.pid, ticks)
        run_folder.save(
            rundir.MachineState("demo", str(cli.run_dir), address, "ready", gone, (vda,))
        )
        refused = cli("up", "-d")
        left.kill()
    assert f"still run (pid {left.pid}), their supervisor was killed" in refused.stderr


def test_an_option_of_clients_opens_no_machine(cli: Cli) -> None:
    """The machine file does."""
    refused = cli("--insecure", "up", "--disk", "disk.img,size=1M")
    assert refused.returncode == 2
    assert "insecure = true in [security]" in refused.stderr


def test_a_machine_file_is_told_by_its_line(cli: Cli) -> None:
    """And the kinds that there are."""
    (cli.folder / "machine.toml").write_text(
        'name = "x"\n\n[[devices]]\nname = "serial"\nkind = "uart"\n\n'
        '[[devices]]\nname = "eth0"\nkind = "net"\n'
    )
    refused = cli("up")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"virtmesh: {cli.folder / 'machine.toml'}:7: devices[1].kind is 'net', and no kind of"
        " device has that name: there are blk, gpu, input, uart\n"
    )


def run_once(cli: Cli) -> tuple[str, str]:
    """Run a machine in the foreground until it is ready, then stop it; return its output."""
    with cli.spawn("up", "--disk", "disk.img,size=1M", "--no-serial") as process:
        wait_until_ready(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return out.decode(), err.decode()


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Read standard error until the machine is ready."""
    assert process.stderr is not None
    for line in process.stderr:
        if b"is ready" in line:
            return
    pytest.fail("it did not become ready")


def test_each_run_in_the_foreground_shows_its_own_log(cli: Cli) -> None:
    """All of it, and nothing of the run before, whose log is kept beside it."""
    runs = [run_once(cli)[0] for _ in range(3)]
    for out in runs:
        shown = [line for line in out.splitlines() if line.startswith("vda | ")]
        assert sum("serving" in line for line in shown) == 1, out
        assert sum("stopping" in line for line in shown) == 1, out
    times = [set(re.findall(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", out)) for out in runs]
    assert all(times)
    assert not times[0] & times[1]
    assert not times[1] & times[2]
    kept = (cli.run_dir / "vda.log.1").read_text()
    assert all(
        line.removeprefix("vda | ") in kept for line in runs[1].splitlines() if "vda |" in line
    )


def test_waiting_for_the_devices_does_not_fill_the_log(cli: Cli) -> None:
    """The supervisor's questions are one line at most; a command's own call has a line too.

    So has the watchdog, which asks something else where the start takes a second.
    """
    cli.up("--disk", "disk.img,size=1M", "--no-serial")
    assert cli("devices", "--request-id", "mine").returncode == 0
    calls = [
        line
        for line in (cli.run_dir / "kernel.log").read_text().splitlines()
        if " call " in line and "ListDevices" in line
    ]
    assert sum("request_id=mine" in line for line in calls) == 1
    assert len(calls) <= 2, calls


def test_the_log_of_a_detached_supervisor_tells_the_runs_apart(cli: Cli) -> None:
    """It goes on over the runs; a line begins each."""
    for _ in range(2):
        cli.up("--disk", "disk.img,size=1M", "--no-serial")
        assert cli("down").returncode == 0
    lines = (cli.run_dir / "supervisor.log").read_text().splitlines()
    kinds = re.findall(r'"kind": "([a-z]+)"', "\n".join(lines))
    assert kinds == ["begun", "stopping", "stopped"] * 2
