"""Guests on the serial port of a machine of real processes; a shell of this host is the guest."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, Cli, eventually, own_folder
from virtmesh_client.channel import KernelChannel
from virtmesh_client.guest import background
from virtmesh_client.guest.console import GuestConsole
from virtmesh_client.guest.foreground import check
from virtmesh_client.guest.keeper import Keeper
from virtmesh_client.guest.plan import GuestPlan
from virtmesh_common.errors import (
    ConsoleTaken,
    DeviceNotFound,
    GuestError,
    GuestNotFound,
    GuestTimeout,
    NotOffered,
    WrongKind,
)

pytestmark = pytest.mark.processes

PROMPT = "virtmesh> "
BOOTED = "echo 'virtmesh guest: booted'; "
MIB = 1 << 20


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with a serial port and a disk."""
    with own_folder() as cli:
        cli.up("--serial", "--disk", "disk.img,size=16M")
        yield cli


@pytest.fixture
def machine(cli: Cli) -> Iterator[virtmesh_client.Machine]:
    """Connect to it."""
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


@pytest.fixture
def serial(machine: virtmesh_client.Machine) -> Iterator[virtmesh_client.Serial]:
    """Plug a terminal in, at the monitor's prompt."""
    with machine.serial() as serial:
        serial.send_line()
        serial.expect(PROMPT)
        yield serial


@dataclass
class Kept:
    """A guest that is kept on a thread."""

    keeper: Keeper
    thread: threading.Thread
    lines: list[str]

    def end(self) -> None:
        """Wait for its end. Errors: those of the guest."""
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        check(self.keeper.ending)


@contextlib.contextmanager
def kept(
    cli: Cli, script: str, *, timeout: float | None = None, serial: str = ""
) -> Iterator[Kept]:
    """Keep a shell as a guest for a while. It is user-mode Linux, as far as anybody can tell."""
    lines: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="vm-") as folder,
        KernelChannel(cli.state.address) as channel,
        GuestConsole() as console,
    ):
        plan = GuestPlan(
            kind="uml",
            command=("sh", "-c", script),
            folder=Path(folder),
            serial=serial,
            disks=("vda",),
            timeout=timeout,
        )
        keeper = Keeper(plan, channel, console, tell=lines.append)
        keeper.attach()
        thread = threading.Thread(target=keeper.run)
        thread.start()
        try:
            yield Kept(keeper, thread, lines)
        finally:
            keeper.interrupt()
            thread.join()


def test_a_guest_talks_at_the_far_end_until_it_ends(
    cli: Cli, serial: virtmesh_client.Serial
) -> None:
    """What is typed reaches the guest alone, its last word is there, and then the monitor is."""
    script = BOOTED + "read name; printf 'hello %s\\r\\n' $name; sleep 0.1; printf bye"
    with kept(cli, script) as guest:
        serial.expect("console of the guest uml; the monitor waits until it ends]\r\n")
        serial.expect("booted\r\n")
        serial.write(b"lsdev\n")
        serial.expect("hello lsdev\r\n")
        after = serial.expect(PROMPT).text
        guest.end()

    assert after.startswith("bye\r\n[")
    assert "has ended; the monitor has the port again\r\n" in after
    serial.send_line("uname")
    assert "virtmesh" in serial.expect(PROMPT).text


def test_every_byte_passes_in_both_directions(cli: Cli, serial: virtmesh_client.Serial) -> None:
    """A megabyte of all bytes comes back as it was sent, however the windows fill."""
    data = bytes(range(256)) * (MIB // 256)
    # The terminal of the guest is raw already, as that of user-mode Linux is.
    with kept(cli, f"{BOOTED}head -c {MIB}") as guest:
        serial.expect("booted\r\n")
        writer = threading.Thread(target=serial_writer, args=(cli, data))
        writer.start()
        back = serial.read(MIB, timeout=SECONDS * 3)
        writer.join()
        guest.end()

    assert back == data


def serial_writer(cli: Cli, data: bytes) -> None:
    """Send data from a terminal of its own."""
    with virtmesh_client.connect(cli.state.address) as machine, machine.serial() as other:
        other.write(data, timeout=SECONDS * 3)


def test_a_guest_is_described_reset_and_stopped_from_anywhere(
    cli: Cli, machine: virtmesh_client.Machine, serial: virtmesh_client.Serial
) -> None:
    """By the library and by the command line; a guest that does not power off is killed."""
    with kept(cli, BOOTED + "echo \"pid $$\"; trap '' TERM; read line; sleep 600") as guest:
        serial.expect("pid ")
        pid = int(serial.expect("\n").text)
        eventually(lambda: machine.guest().info().state == "running")
        before = machine.guests()
        after = machine.guest("serial").reset()
        serial.expect("pid ")
        again = int(serial.expect("\n").text)
        listed = cli("guest", "status")
        stopped = cli("guest", "stop", "--timeout", "0.1")
        left = machine.guests()
        guest.end()

    assert [(one.serial, one.kind, one.pid, one.disks) for one in before] == [
        ("serial", "uml", pid, ("vda",))
    ]
    assert before[0].runner_pid == os.getpid()
    assert abs(before[0].started_at - time.time()) < SECONDS
    assert (after.resets, again != pid) == (1, True)
    assert "serial   uml" in listed.stdout
    assert "the guest was killed" in stopped.stderr
    assert left == []
    with pytest.raises(GuestNotFound):
        machine.guest().info()
    assert cli("guest", "reset").stderr.startswith("virtmesh: no guest has serial: ")


def test_a_guest_that_does_not_read_can_be_reset(
    cli: Cli, machine: virtmesh_client.Machine, serial: virtmesh_client.Serial
) -> None:
    """Input waits on its way, and the action does not wait behind it."""
    with kept(cli, BOOTED + "exec sleep 600") as guest:
        serial.expect("booted\r\n")
        with machine.serial() as other:
            other.write(bytes(300 << 10), wait="sent")
            machine.guest().reset()
            serial.expect("booted\r\n")
            killed = machine.guest().stop(force=True)
            guest.end()

    assert killed


def test_another_guest_is_refused_the_port(
    cli: Cli, machine: virtmesh_client.Machine, serial: virtmesh_client.Serial
) -> None:
    """So is a port that is none; the refusal says who has it."""
    with kept(cli, BOOTED + "exec sleep 600"):
        serial.expect("booted\r\n")
        with pytest.raises(ConsoleTaken, match=f"the guest uml .process {os.getpid()}. has serial"):
            kept(cli, "true").__enter__()
    serial.expect(PROMPT)
    with pytest.raises(WrongKind), kept(cli, "true", serial="vda"):
        pass
    with pytest.raises(DeviceNotFound), kept(cli, "true", serial="tty9"):
        pass
    assert machine.guests() == []


def test_a_guest_goes_on_while_the_kernel_service_restarts(
    cli: Cli, serial: virtmesh_client.Serial
) -> None:
    """The keeper attaches again, with all that the port had not taken."""
    with kept(cli, BOOTED + 'while read line; do echo "got $line"; done') as guest:
        serial.expect("booted\r\n")
        serial.write(b"one\n")
        serial.expect("got one\n")

        os.kill(cli.process("kernel").pid, signal.SIGKILL)

        eventually(lambda: guest.lines.count("the console of the guest is serial") > 1)
        serial.write(b"two\n")
        serial.expect("got two\n", timeout=SECONDS)


def test_a_guest_goes_on_while_the_serial_port_restarts(
    cli: Cli, machine: virtmesh_client.Machine, serial: virtmesh_client.Serial
) -> None:
    """It still has the port in its next life."""
    with kept(cli, BOOTED + 'while read line; do echo "got $line"; done'):
        serial.expect("booted\r\n")

        pid = cli.process("serial").pid
        os.kill(pid, signal.SIGKILL)

        eventually(lambda: cli.process("serial").pid != pid)
        eventually(lambda: machine.devices()[0].state == "ready")
        serial.write(b"two\n")
        serial.expect("got two\n", timeout=SECONDS)


def test_a_guest_goes_nowhere_else_when_its_machine_has_stopped() -> None:
    """The next machine of the same name has its port to itself, and the guest is killed."""
    with own_folder() as cli:
        cli.up("--serial")
        first = cli.state.supervisor.pid
        with kept(cli, BOOTED + "exec sleep 600") as guest:
            assert guest.keeper.booted.wait(SECONDS)
            stopped = cli("down")
            cli.up("--serial")
            with pytest.raises(GuestError, match="the machine was stopped, and its guest with it"):
                guest.end()

            assert cli.state.supervisor.pid != first
            with virtmesh_client.connect(cli.state.address) as machine:
                assert machine.guests() == []
            assert guest.lines.count("the console of the guest is serial") == 1
        assert stopped.returncode == 0, stopped.stderr


def test_down_stops_the_guests_in_the_background() -> None:
    """It says so, and the keeper is gone with them."""
    with own_folder() as cli:
        cli.up("--serial")
        folder = Path(tempfile.mkdtemp(prefix="vm-"))
        plan = GuestPlan("uml", ("sh", "-c", BOOTED + "exec sleep 600"), folder)
        background.start(plan, cli.state.address, cli.run_dir / "guest.log")
        with virtmesh_client.connect(cli.state.address) as machine:
            keeper = os.pidfd_open(machine.guest().info().runner_pid)

        stopped = cli("down")

        assert select.select([keeper], [], [], SECONDS)[0]
        os.close(keeper)
    assert stopped.returncode == 0
    assert stopped.stderr == (
        "the guest uml on serial of virtmesh did not power off and was killed\n"
    )
    assert stopped.stdout == "virtmesh is stopped\n"
    assert not folder.exists()


def test_a_guest_has_as_much_time_as_it_is_given(cli: Cli) -> None:
    """Then it is killed, and the port goes back."""
    with (
        kept(cli, BOOTED + "exec sleep 600", timeout=0.5) as guest,
        pytest.raises(GuestTimeout, match=r"still ran after 0\.5 s"),
    ):
        guest.end()


def test_the_exit_status_of_a_guest_is_an_error(cli: Cli) -> None:
    """Unless somebody has asked it to end."""
    with kept(cli, "exit 3") as guest, pytest.raises(GuestError, match="exit status 3"):
        guest.end()


def test_a_guest_in_the_background(cli: Cli, serial: virtmesh_client.Serial) -> None:
    """Its keeper outlives who started it, cleans up, and tells why a guest does not boot."""
    folder = Path(tempfile.mkdtemp(prefix="vm-"))
    log = cli.folder / "guest.log"
    plan = GuestPlan("uml", ("sh", "-c", BOOTED + "exec sleep 600"), folder)
    background.start(plan, cli.state.address, log)
    shown = cli("guest", "status")
    stopped = cli("guest", "stop", "--force")
    serial.expect(PROMPT)
    eventually(lambda: not folder.exists())
    other = Path(tempfile.mkdtemp(prefix="vm-"))
    failing = GuestPlan("uml", ("sh", "-c", "echo no root; exit 1"), other)
    with pytest.raises(GuestError, match="exit status 1"):
        background.start(failing, cli.state.address, log)

    assert "background" in shown.stdout
    assert stopped.returncode == 0
    assert not other.exists()
    assert "asked to stop the guest" in log.read_text()


def test_a_keeper_that_is_killed_takes_its_guest_along(
    cli: Cli, machine: virtmesh_client.Machine, serial: virtmesh_client.Serial
) -> None:
    """The monitor has the port, and says that the guest is gone."""
    folder = Path(tempfile.mkdtemp(prefix="vm-"))
    plan = GuestPlan("uml", ("sh", "-c", BOOTED + "exec sleep 600"), folder)
    background.start(plan, cli.state.address, cli.folder / "guest.log")
    eventually(lambda: machine.guest().info().pid)  # the keeper looks for it from time to time
    info = machine.guest().info()
    handle = os.pidfd_open(info.pid)

    os.kill(info.runner_pid, signal.SIGKILL)

    serial.expect(f"the guest uml (process {info.runner_pid}) is gone; the monitor has the port")
    serial.expect(PROMPT)
    eventually(lambda: not alive(handle))
    os.close(handle)
    folder.rmdir()


def alive(handle: int) -> bool:
    """Return whether the process of a pidfd runs."""
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return False
    return True


def test_only_a_process_on_the_host_attaches_a_guest(tmp_path: Path) -> None:
    """Over TCP people can stop a guest, and not put themselves between a person and the machine."""
    with own_folder() as cli:
        machine_file = cli.folder / "machine.toml"
        machine_file.write_text(
            '[kernel]\nlisten = ["unix:kernel.sock", "127.0.0.1:0"]\n'
            '[[devices]]\nname = "serial"\nkind = "uart"\n'
        )
        cli.up(machine_file)
        address = tcp_address(cli)
        with KernelChannel(address) as channel, GuestConsole() as console:
            plan = GuestPlan("uml", ("true",), tmp_path)
            with pytest.raises(NotOffered, match="not offered over TCP"):
                Keeper(plan, channel, console).attach()
        with virtmesh_client.connect(address) as machine:
            assert machine.guests() == []


def tcp_address(cli: Cli) -> str:
    """Return the TCP address of a kernel service, from its log."""
    text = Path(cli.process("kernel").log).read_text()
    return "127.0.0.1:" + text.rpartition("127.0.0.1:")[2].split("'")[0].split('"')[0]
